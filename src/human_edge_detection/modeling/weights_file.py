"""Safetensors files: weights with their model's spec and a checksum.

They hold the weights alone; other tools read them without this package or a pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.spec import ModelSpec

WEIGHTS_FORMAT = "human_edge_detection.weights.2"
_CHECKSUM = b'"sha256":"'
"""What comes before the checksum in a file's header."""


def save_weights(
    path: Path, weights: Mapping[str, Tensor], spec: ModelSpec, *, half: bool = False
) -> None:
    """Write weights by their names in the model, with its spec in the header.

    With ``half``, convolutions in float16. Tensors of one dimension (norms and their statistics,
    biases) keep their type: they are small, and variances exceed float16's range.

    Raises:
        InputError: if the file cannot be written.
    """
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if half:
        plain = {name: v.half() if v.ndim > 1 else v for name, v in plain.items()}
    facts = {"format": WEIGHTS_FORMAT, "spec": json.dumps(spec.to_dict()), "sha256": "0" * 64}
    data = _ordered(save(plain, facts), facts)
    at = data.index(_CHECKSUM) + len(_CHECKSUM)
    write_atomically(path, data[:at] + _checksum(data, at) + data[at + 64 :])


def _ordered(data: bytes, facts: Mapping[str, str]) -> bytes:
    """The file with its facts in this order, which the library draws anew in each process."""
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size]) | {"__metadata__": dict(facts)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8
    return len(text).to_bytes(8, "little") + text + data[size:]


def _checksum(data: bytes, at: int) -> bytes:
    """The 64 digits of the SHA-256 of all bytes but those where it stands."""
    digest = hashlib.sha256(memoryview(data)[:at])
    digest.update(memoryview(data)[at + 64 :])
    return digest.hexdigest().encode()


def _check_bytes(path: Path) -> None:
    """Compare a safetensors file with its checksum, if it has one.

    Raises:
        InputError: if its bytes are not those that were written.
    """
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little")
    before = data.find(_CHECKSUM, 0, 8 + header)
    at = before + len(_CHECKSUM)
    if before >= 0 and data[at : at + 64] != _checksum(data, at):
        raise InputError(
            f"weights {path} are damaged: their bytes are not those that were written (SHA-256); "
            "copy, download or export them again"
        )


def read_weights_file(path: Path) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The spec and the weights of :func:`save_weights`, floating ones as float32.

    Raises:
        InputError: if the file is missing, cut short or not one of this project.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"weights {path} do not exist: check the path")
    try:
        _check_bytes(path)
        with safe_open(path, "pt") as file:
            facts: dict[str, str] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"weights {path} cannot be read ({one_line(str(error), 200)}): the file was cut short "
            "or is of another kind"
        ) from error
    if facts.get("format") != WEIGHTS_FORMAT or "spec" not in facts:
        raise InputError(f"weights {path} were not written by this project: use another file")
    try:
        values = json.loads(facts["spec"])
    except (ValueError, RecursionError) as error:
        raise InputError(f"weights {path} have an unreadable spec ({error!s:.200})") from error
    spec = ModelSpec.from_dict(values, path)
    return spec, {n: v.float() if v.dtype == torch.float16 else v for n, v in weights.items()}

"""Trained weights in files: checkpoints and safetensors, and the model that they make.

A safetensors file holds the weights alone; other tools read it without this package or a pickle.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.spec import ModelSpec, checked
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.person_extractor import MULTIPLE, PersonExtractor

WEIGHTS_FORMAT = "human_edge_detection.weights.2"
CHECKPOINT_FORMAT = "human_edge_detection.checkpoint.2"
_CHECKSUM = b'"sha256":"'
"""What comes before the checksum in the header of a safetensors file."""
WEIGHTS_SUFFIXES = (".pth", ".safetensors")
SHOWN = 3
"""Names shown of each kind of fault."""

Payload = dict[str, Any]


@dataclass(frozen=True)
class TrainedWeights:
    """Weights by their names in the model, and the model's spec.

    Attributes:
        path: the file they are from, for messages.
        spec: geometry and kind of the head.
        weights: their moving average where the file has one; names begin with ``head.`` and, if
            it was trained along, ``extractor.``.
    """

    path: Path
    spec: ModelSpec
    weights: Mapping[str, Tensor]

    @property
    def has_extractor(self) -> bool:
        """Whether the extractor was trained along and is inside."""
        return any(name.startswith("extractor.") for name in self.weights)

    @property
    def has_detector(self) -> bool:
        """Whether there is a person detector too."""
        return any(name.startswith("extractor.detector.") for name in self.weights)

    def at_size(self, image_size: tuple[int, int] | None) -> TrainedWeights:
        """The same for images of another height and width; None leaves them as trained.

        Raises:
            InputError: if the extractor inside cannot work at that size.
        """
        if image_size is None:
            return self
        if min(image_size) < 1 or (self.has_extractor and any(s % MULTIPLE for s in image_size)):
            raise InputError(
                f"image_size {image_size[0]} {image_size[1]} does not fit {self.path}: "
                f"use multiples of {MULTIPLE}"
            )
        try:
            return replace(self, spec=checked(replace(self.spec, image_size=image_size)))
        except ValueError as error:
            raise InputError(f"{error} is too large for a model: choose a smaller one") from error

    def model(self) -> nn.ModuleDict:
        """``head`` and, if it is inside, ``extractor``, in evaluation mode on the CPU.

        Raises:
            InputError: if the weights are not those of the model that the spec describes.
        """
        model = nn.ModuleDict({"head": build_head(self.spec)})
        if self.has_extractor:
            if self.spec.layers != PersonExtractor.layers:
                raise InputError(
                    f"{self.path} holds an extractor of maps {' '.join(self.spec.layers)}, which "
                    "this version cannot train or export: use the version that wrote it, or train "
                    "anew (files exported from it still work)"
                )
            model["extractor"] = PersonExtractor(self.has_detector)
        load_weights(model, self.weights, self.path)
        return model.eval()


def read_trained(path: Path) -> TrainedWeights:
    """The weights of a ``.pth`` checkpoint or a ``.safetensors`` file of this project.

    Raises:
        InputError: if the file cannot be used.
    """
    if path.suffix == ".safetensors":
        return TrainedWeights(path, *read_weights_file(path))
    payload = load_checkpoint(path)
    require(payload, path, "spec", "weights")
    weights = best_weights(payload)
    if not (isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values())):
        raise InputError(f"checkpoint {path} holds weights that are no tensors: use another file")
    return TrainedWeights(path, ModelSpec.from_dict(payload["spec"], path), weights)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a module, all that it has and no others.

    Args:
        module: the module.
        weights: the weights by their names in it.
        path: the file that they are from, for the message.

    Raises:
        InputError: naming the weights that are missing, unknown or of another shape.
    """
    own = module.state_dict()
    faults = {
        "it lacks": [name for name in own if name not in weights],
        "here there is no": [name for name in weights if name not in own],
        "another shape has": [
            f"{name} ({list(weights[name].shape)}, here {list(value.shape)})"
            for name, value in own.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    if any(faults.values()):
        shown = "; ".join(f"{what} {_listed(names)}" for what, names in faults.items() if names)
        raise InputError(
            f"{path} belongs to another model: {shown}. Use the head, head_widths, roi_size, "
            "layers, onnx_model, train_extractor and train_detector that it was trained with"
        )
    module.load_state_dict(dict(weights))


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def load_checkpoint(path: Path) -> Payload:
    """The payload of a checkpoint, on the CPU.

    Raises:
        InputError: if the file is missing, cut short, not a checkpoint of this project, or a
            pickle that would run code.
    """
    if not path.is_file():
        raise InputError(f"checkpoint {path} does not exist: check the path")
    try:
        if zipfile.is_zipfile(path):  # an older kind of torch's files has no sums
            _check_records(path)
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))  # torch adds how to run it anyway
        raise InputError(
            f"checkpoint {path} is refused: it holds more than tensors and plain values, "
            f"{f'the code {code[1]}' if code else 'or is none'}; use one written by main.py"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0].split(".  (")[0]
        raise InputError(
            f"checkpoint {path} cannot be read ({reason}): it was cut short or is another kind "
            "of file; use an earlier checkpoint"
        ) from error
    if not isinstance(payload, dict) or payload.get("format") != CHECKPOINT_FORMAT:
        raise InputError(
            f"checkpoint {path} was not written by this version of main.py "
            f"(format {CHECKPOINT_FORMAT} expected): train again, or use the version that wrote it"
        )
    return payload


def _check_records(path: Path) -> None:
    """Compare each record of a checkpoint with its CRC-32, which torch writes but does not read.

    Raises:
        ValueError: if bits have changed, or it was not torch that wrote the file.
    """
    with zipfile.ZipFile(path) as file:
        records = file.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("its records are compressed")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("its records are larger than the file")
        if (damaged := file.testzip()) is not None:
            raise ValueError(f"bits of record {one_line(damaged, 80)} have changed")


def require(payload: Payload, path: Path, *names: str) -> None:
    """Check that a payload has all of ``names``.

    Raises:
        InputError: naming everything that is missing.
    """
    if missing := [name for name in names if name not in payload]:
        raise InputError(
            f"checkpoint {path} lacks {', '.join(missing)}: it can be validated and exported if it "
            "has 'spec' and 'weights', but not resumed"
        )


def best_weights(payload: Payload) -> dict[str, Tensor]:
    """The weights to use: their moving average where the payload has one."""
    weights: dict[str, Tensor] = payload.get("ema") or payload["weights"]
    return weights


def save_weights(
    path: Path, weights: Mapping[str, Tensor], spec: ModelSpec, *, half: bool = False
) -> None:
    """Write weights by their names in the model, with its spec in the header.

    Args:
        path: the file.
        weights: the weights.
        spec: the model.
        half: convolutions in float16. Tensors of one dimension (norms and their statistics,
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

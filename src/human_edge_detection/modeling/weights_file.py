"""Weights alone as a safetensors file, which other tools read without this package or a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.spec import ModelSpec, spec_from_dict, spec_to_dict

FORMAT = "human_edge_detection.weights.2"


def save_weights(
    path: Path, weights: Mapping[str, Tensor], spec: ModelSpec, *, half: bool = False
) -> None:
    """Write weights by their names in the model; the header's ``spec`` says how to build it.

    Args:
        path: the file.
        weights: the weights.
        spec: the model.
        half: convolutions in float16. What has one dimension (norms and their statistics, biases)
            stays as it is: it is small, and variances leave float16's range.

    Raises:
        InputError: if the file cannot be written.
    """
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if half:
        plain = {name: v.half() if v.ndim > 1 else v for name, v in plain.items()}
    facts = {"format": FORMAT, "spec": json.dumps(spec_to_dict(spec))}
    write_atomically(path, save(plain, facts))


def read_weights_file(path: Path) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The spec and the weights of :func:`save_weights`, floating ones as float32.

    Raises:
        InputError: if the file is missing, cut short or not one of this project.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"weights {path} do not exist: check the path")
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, str] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"weights {path} cannot be read ({error}): the file was cut short or is of another kind"
        ) from error
    if facts.get("format") != FORMAT or "spec" not in facts:
        raise InputError(f"weights {path} were not written by this project: use another file")
    spec = spec_from_dict(json.loads(facts["spec"]), path)
    return spec, {n: v.float() if v.dtype == torch.float16 else v for n, v in weights.items()}

"""Weights alone as a safetensors file, which other tools read without this package or a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from human_edge_detection.checkpoint import spec_to_dict
from human_edge_detection.images import write_atomically
from human_edge_detection.model import ModelSpec

FORMAT = "human_edge_detection.weights"


def save_weights(path: Path, weights: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Write weights by their names in the model; the header's ``spec`` says how to build it.

    Raises:
        InputError: if the file cannot be written.
    """
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    facts = {"format": FORMAT, "spec": json.dumps(spec_to_dict(spec))}
    write_atomically(path, save(plain, facts))

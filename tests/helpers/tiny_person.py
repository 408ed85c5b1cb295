"""A person model with random weights, for the tests of what ships and of joint training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.training.checkpoints import save_checkpoint

SPEC = ModelSpec(
    "lite", PersonExtractor.layers, PersonExtractor.channels, PersonExtractor.strides, (96, 64)
)


def new_person_model(spec: ModelSpec = SPEC, *, with_detector: bool = True) -> nn.ModuleDict:
    """Head and extractor with the same random weights every time."""
    torch.manual_seed(0)
    parts = {"head": build_head(spec), "extractor": PersonExtractor(with_detector)}
    return nn.ModuleDict(parts).eval()


def write_person_checkpoint(
    path: Path, spec: ModelSpec = SPEC, *, with_detector: bool = True
) -> Path:
    """Write a checkpoint of such a model, as a run with ``--train_extractor`` does."""
    weights = new_person_model(spec, with_detector=with_detector).state_dict()
    save_checkpoint(path, {"spec": spec.to_dict(), "weights": weights})
    return path

"""Runs of a trainer that stop where asked, and states compared value by value."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor

from human_edge_detection.modeling.features import Batch, collate
from human_edge_detection.training.distributed import StopRequest
from tiny_run import TinyTrainer as Trainer
from tiny_run import pooled_features

TYPES: dict[str, dict[str, object]] = {
    "float32": {}, "bfloat16": {"amp": True}, "float16": {"amp": True, "amp_dtype": "float16"},
}  # fmt: skip
LIVELY_SCALE = {
    "scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2,
    "_growth_tracker": 0,
}  # fmt: skip
"""A loss scale that grows after two good steps, so that a few steps see it rise and overflow."""


class StopAfter(StopRequest):
    """Asks to stop when a number of steps has been looked at; None never does."""

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        self.left = steps

    def __bool__(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left <= 0


def train(trainer: Trainer, steps: int | None = None) -> list[dict[str, float]]:
    """Train to the end, or until a number of steps is done; the scalars of the steps come back."""
    seen: list[dict[str, float]] = []
    start = trainer.progress.step
    while trainer.progress.epoch < trainer.loop.epochs:
        left = None if steps is None else steps - (trainer.progress.step - start)
        trainer.train_epoch(
            trainer.progress, StopAfter(left), lambda scalars, _step: seen.append(scalars)
        )
        if steps is not None and trainer.progress.step - start >= steps:
            break
    return seen


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def tensors_of(state: Any, name: str = "state") -> dict[str, Any]:
    """Every tensor and plain value of a nested state, by its path."""
    if isinstance(state, dict):
        return {k: v for key in state for k, v in tensors_of(state[key], f"{name}.{key}").items()}
    if isinstance(state, list | tuple):
        parts = [tensors_of(part, f"{name}.{i}") for i, part in enumerate(state)]
        return {k: v for part in parts for k, v in part.items()}
    return {name: state}


def assert_same_state(one: Trainer, other: Trainer) -> None:
    first, second = tensors_of(one.state()), tensors_of(other.state())
    assert first.keys() == second.keys()
    for name, value in first.items():
        if name == "state.torch_rng":  # a loader draws a seed each time it is made; nobody uses it
            continue
        same = torch.equal(value, second[name]) if isinstance(value, Tensor) else (
            value == second[name]
        )  # fmt: skip
        assert same, f"{name} differs"


def batches_of(trainer: Trainer, *groups: tuple[int, ...]) -> list[Batch]:
    return [collate([trainer.dataset[(0, i)] for i in group]) for group in groups]


def spoil(trainer: Trainer, bad: set[int]) -> None:
    """Make the features of the photos at some positions not finite."""

    def features(batch: Batch) -> list[Tensor]:
        maps = pooled_features(batch)
        if bad & {sample.photo_index for sample in batch.samples}:
            maps[0][:] = float("nan")
        return maps

    trainer.features = features

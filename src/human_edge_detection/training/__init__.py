"""The training of models: set-up, run, trainer, finish.

The names below load on first use, so that the options alone load no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.training.options import TrainOptions
    from human_edge_detection.training.run import Run
    from human_edge_detection.training.setup import run_train
    from human_edge_detection.training.trainer import Trainer

__all__ = ["Run", "TrainOptions", "Trainer", "run_train"]

_HOMES = {"Run": "run", "TrainOptions": "options", "Trainer": "trainer", "run_train": "setup"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

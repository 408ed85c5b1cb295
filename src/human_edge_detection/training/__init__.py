"""The training of models: set-up, run, trainer, finish.

The names below load on first use, so that the options alone load no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.training.options import TrainOptions
    from human_edge_detection.training.run import Run
    from human_edge_detection.training.setup import run_train
    from human_edge_detection.training.trainer import Trainer

__all__ = ["Run", "TrainOptions", "Trainer", "run_train"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {"Run": "run", "TrainOptions": "options", "Trainer": "trainer", "run_train": "setup"},
)

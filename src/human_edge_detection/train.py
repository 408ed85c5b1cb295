"""The specification's name for the wing ``training``."""

from human_edge_detection.training.run import Run
from human_edge_detection.training.setup import run_train
from human_edge_detection.training.trainer import Trainer

__all__ = ["Run", "Trainer", "run_train"]

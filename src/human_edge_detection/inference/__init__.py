"""Boxes in, masks out: one photo (`predictor`) and many files (`batch`).

The names below load on first use; the list of result formats needs neither NumPy nor OpenCV, so
that the command line's help stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.inference.options import PredictOptions
    from human_edge_detection.inference.predictor import MaskPredictor

__all__ = ["SAVE_KINDS", "MaskPredictor", "PredictOptions"]

SAVE_KINDS = ("overlay", "coco", "labels", "cutouts", "polygons")
"""The result formats that users choose from; ``writers.FORMATS`` holds them."""

_HOMES = {"MaskPredictor": "predictor", "PredictOptions": "options"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Boxes in, masks out: one photo (`predictor`) and many files (`batch`).

The names below load on first use; the list of result formats needs neither NumPy nor OpenCV, so
that the command line's help stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.inference.options import PredictOptions
    from human_edge_detection.inference.predictor import MaskPredictor
    from human_edge_detection.inference.video_tracker import VideoTracker

__all__ = ["SAVE_KINDS", "MaskPredictor", "PredictOptions", "VideoTracker"]

SAVE_KINDS = ("overlay", "coco", "labels", "cutouts", "polygons", "label_studio")
"""The result formats that users choose from; ``writers.FORMATS`` holds them."""

__getattr__, __dir__ = lazy_names(
    __name__,
    {"MaskPredictor": "predictor", "PredictOptions": "options", "VideoTracker": "video_tracker"},
)

"""Everything that opens an ONNX file: sessions, extractor, detector, head.

The names below load on first use; the constants need neither NumPy nor ONNX Runtime, so that the
command line's help stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.runtime.detector import DetectorSession
    from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
    from human_edge_detection.runtime.head import HeadSession
    from human_edge_detection.runtime.model_files import ModelFiles
    from human_edge_detection.runtime.sessions import SessionOptions, open_session

__all__ = [
    "DEFAULT_SCORE",
    "DETECTOR_LAYOUTS",
    "DetectorSession",
    "HeadSession",
    "ModelFiles",
    "SessionOptions",
    "YOLOv9FeatureExtractor",
    "open_session",
]

DEFAULT_SCORE = 0.3
"""Lowest score of a person that a detector found, wherever none is given."""

DETECTOR_LAYOUTS = ("boxes_scores", "wholebody", "end2end", "raw")
"""The detector layouts that users choose from; ``detector_layouts.LAYOUTS`` holds them."""

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DetectorSession": "detector",
        "HeadSession": "head",
        "ModelFiles": "model_files",
        "SessionOptions": "sessions",
        "YOLOv9FeatureExtractor": "feature_extractor",
        "open_session": "sessions",
    },
)

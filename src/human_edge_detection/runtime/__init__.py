"""Everything that opens an ONNX file: sessions, extractor, detector, head.

The names below load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.runtime.detector import DetectorSession
    from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
    from human_edge_detection.runtime.head import HeadSession
    from human_edge_detection.runtime.model_files import ModelFiles
    from human_edge_detection.runtime.sessions import SessionOptions, open_session

__all__ = [
    "DetectorSession",
    "HeadSession",
    "ModelFiles",
    "SessionOptions",
    "YOLOv9FeatureExtractor",
    "open_session",
]

_HOMES = {
    "DetectorSession": "detector",
    "HeadSession": "head",
    "ModelFiles": "model_files",
    "SessionOptions": "sessions",
    "YOLOv9FeatureExtractor": "feature_extractor",
    "open_session": "sessions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Plain data that every stage hands on: boxes, pixels, files and specs, without decisions.

The names below load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.core.errors import InputError
    from human_edge_detection.core.geometry import AxisTransform
    from human_edge_detection.core.images import read_image
    from human_edge_detection.core.spec import ModelSpec
    from human_edge_detection.core.structures import Detections, MaskClass, RoiSample

__all__ = [
    "AxisTransform",
    "Detections",
    "InputError",
    "MaskClass",
    "ModelSpec",
    "RoiSample",
    "read_image",
]

_HOMES = {
    "AxisTransform": "geometry",
    "Detections": "structures",
    "InputError": "errors",
    "MaskClass": "structures",
    "ModelSpec": "spec",
    "RoiSample": "structures",
    "read_image": "images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

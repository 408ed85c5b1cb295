"""Annotated photos in, training samples out.

The names below load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.data.annotations import Person, Photo
    from human_edge_detection.data.coco_reader import load_photos
    from human_edge_detection.data.dataset import PhotoDataset

__all__ = ["Person", "Photo", "PhotoDataset", "load_photos"]

_HOMES = {
    "Person": "annotations",
    "Photo": "annotations",
    "PhotoDataset": "dataset",
    "load_photos": "coco_reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

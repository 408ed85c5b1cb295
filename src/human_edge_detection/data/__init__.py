"""Annotated photos in, training samples out.

The names below load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.data.annotations import Person, Photo
    from human_edge_detection.data.coco_reader import load_photos
    from human_edge_detection.data.dataset import PhotoDataset

__all__ = ["Person", "Photo", "PhotoDataset", "load_photos"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Person": "annotations",
        "Photo": "annotations",
        "PhotoDataset": "dataset",
        "load_photos": "coco_reader",
    },
)

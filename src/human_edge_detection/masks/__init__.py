"""From a head's probabilities to people's pixels: paste, arbitrate, fuse, draw.

The names below load on first use; the list of rules needs neither NumPy nor OpenCV, so that the
command line's help stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from human_edge_detection.masks.fusion import fuse
    from human_edge_detection.masks.instance_masks import InstanceMasks
    from human_edge_detection.masks.overlay import overlay_masks_on_image

__all__ = ["FUSE_RULES", "InstanceMasks", "fuse", "overlay_masks_on_image"]

FUSE_RULES = ("arbitrate", "max", "mean", "priority")
"""The overlap rules that users choose from, the default first; ``fusion.RULES`` holds them."""

_HOMES = {
    "InstanceMasks": "instance_masks",
    "fuse": "fusion",
    "overlay_masks_on_image": "overlay",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

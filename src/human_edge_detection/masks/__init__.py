"""From a head's probabilities to people's pixels: paste, arbitrate, fuse, draw.

The names below load on first use; the list of rules needs neither NumPy nor OpenCV, so that the
command line's help stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.masks.fusion import fuse
    from human_edge_detection.masks.instance_masks import InstanceMasks
    from human_edge_detection.masks.overlay import overlay_masks_on_image

__all__ = ["FUSE_RULES", "InstanceMasks", "fuse", "overlay_masks_on_image"]

FUSE_RULES = ("arbitrate", "max", "mean", "priority")
"""The overlap rules that users choose from, the default first; ``fusion.RULES`` holds them."""

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "InstanceMasks": "instance_masks",
        "fuse": "fusion",
        "overlay_masks_on_image": "overlay",
    },
)

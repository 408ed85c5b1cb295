"""Boxes of people in, one clean mask per person out, also where they overlap.

The names below load on first use, so that ``import human_edge_detection`` is instant and
inference never loads torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.core.errors import InputError
    from human_edge_detection.core.images import read_image
    from human_edge_detection.core.structures import Detections, MaskClass
    from human_edge_detection.inference.predictor import MaskPredictor
    from human_edge_detection.inference.video_tracker import VideoTracker
    from human_edge_detection.masks.instance_masks import InstanceMasks
    from human_edge_detection.masks.overlay import overlay_masks_on_image
    from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

__all__ = [
    "Detections",
    "InputError",
    "InstanceMasks",
    "MaskClass",
    "MaskPredictor",
    "VideoTracker",
    "YOLOv9FeatureExtractor",
    "overlay_masks_on_image",
    "read_image",
]

# From 1.29 on, ONNX Runtime's packages for Linux and macOS report models and their use to its
# makers. It reads this when it is loaded; who wants the reports sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Detections": "core.structures",
        "InputError": "core.errors",
        "InstanceMasks": "masks.instance_masks",
        "MaskClass": "core.structures",
        "MaskPredictor": "inference.predictor",
        "VideoTracker": "inference.video_tracker",
        "YOLOv9FeatureExtractor": "runtime.feature_extractor",
        "overlay_masks_on_image": "masks.overlay",
        "read_image": "core.images",
    },
)

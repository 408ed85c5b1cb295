"""The networks and their losses, in torch, which is loaded with the first of these names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from human_edge_detection.core import lazy_names

if TYPE_CHECKING:
    from human_edge_detection.modeling.heads import build_head
    from human_edge_detection.modeling.layers import DynamicRoIAlign
    from human_edge_detection.modeling.lite_head import LiteHead
    from human_edge_detection.modeling.losses import RoiMaskLoss
    from human_edge_detection.modeling.person_extractor import PersonExtractor
    from human_edge_detection.modeling.reference_head import ReferenceHead

__all__ = [
    "DynamicRoIAlign",
    "LiteHead",
    "PersonExtractor",
    "ReferenceHead",
    "RoiMaskLoss",
    "build_head",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DynamicRoIAlign": "layers",
        "LiteHead": "lite_head",
        "PersonExtractor": "person_extractor",
        "ReferenceHead": "reference_head",
        "RoiMaskLoss": "losses",
        "build_head": "heads",
    },
)

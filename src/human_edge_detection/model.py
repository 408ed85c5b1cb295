"""The specification's name for the heads of the wing ``modeling``."""

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.modeling.layers import DynamicRoIAlign
from human_edge_detection.modeling.lite_head import LiteHead
from human_edge_detection.modeling.reference_head import ReferenceHead as SpecHead

__all__ = ["DynamicRoIAlign", "LiteHead", "ModelSpec", "SpecHead", "build_head"]

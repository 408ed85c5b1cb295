"""The specification's name for the frozen network of the wing ``runtime``."""

from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

__all__ = ["YOLOv9FeatureExtractor"]

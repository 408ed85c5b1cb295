"""The specification's name for the exports of the wing ``export``."""

from human_edge_detection.export.head import export_end_to_end, export_head

__all__ = ["export_end_to_end", "export_head"]

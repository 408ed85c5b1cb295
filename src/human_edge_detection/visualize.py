"""The specification's name for the pictures of the wing ``masks``."""

from human_edge_detection.masks.drawing import draw_people
from human_edge_detection.masks.overlay import overlay_masks_on_image, panel

__all__ = ["draw_people", "overlay_masks_on_image", "panel"]

"""The specification's name for the wing ``data``: annotated photos and their training samples."""

from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import PhotoDataset

__all__ = ["Person", "Photo", "PhotoDataset", "load_photos"]

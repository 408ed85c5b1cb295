"""Writes panel pictures of whole photos: boxes, ground truth and prediction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from human_edge_detection.coco import Photo
from human_edge_detection.images import read_image, save_image
from human_edge_detection.person_scores import PersonScore
from human_edge_detection.structures import ImageArray
from human_edge_detection.targets import PhotoMasks, roi_targets
from human_edge_detection.visualize import panel

LOG = logging.getLogger(__name__)


def choose_photos(scores: Sequence[PersonScore], count: int) -> list[int]:
    """Ids of ``count`` photos spread evenly from the worst mean IoU to the best."""
    ious: dict[int, list[float]] = {}
    for score in scores:
        ious.setdefault(score.photo_id, []).append(score.iou)
    ranked = sorted(ious, key=lambda photo: float(np.mean(ious[photo])))
    steps = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
    return [ranked[round(float(step))] for step in steps]


def photo_panel(photo: Photo, scores: Sequence[PersonScore]) -> ImageArray:
    """The panel uint8 [H, W, 3] of one photo, from the scores of its people."""
    positions = {person.id: index for index, person in enumerate(photo.people)}
    rois = np.stack([score.roi_xyxy for score in scores])
    labels = np.stack([score.labels for score in scores])
    people = np.array([positions[score.person_id] for score in scores])
    targets = roi_targets(PhotoMasks(photo), rois, people, labels.shape[-1])
    boxes = np.stack([score.box_xyxy for score in scores])
    return panel(read_image(photo.path), boxes, rois, targets, labels)


def write_panels(
    photos: Sequence[Photo], scores: Sequence[PersonScore], folder: Path, count: int = 12
) -> list[Path]:
    """Write ``panel_NN_NAME.jpg`` of some photos, the worst first; their paths come back."""
    by_id = {photo.id: photo for photo in photos}
    paths = []
    for rank, photo_id in enumerate(choose_photos(scores, count), start=1):
        own = [score for score in scores if score.photo_id == photo_id]
        path = folder / f"panel_{rank:02d}_{Path(by_id[photo_id].file_name).stem}.jpg"
        save_image(path, photo_panel(by_id[photo_id], own))
        paths.append(path)
    LOG.info("%d panels in %s", len(paths), folder)
    return paths

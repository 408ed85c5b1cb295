"""Writes panel pictures of whole photos: boxes, ground truth and prediction."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.targets import PhotoMasks, roi_targets
from human_edge_detection.evaluation.person_scores import PersonScore
from human_edge_detection.masks.overlay import panel

LOG = logging.getLogger(__name__)
FIXED_COUNT, FIXED_WIDTH = 4, 1280
"""Photos shown at every validation, and the most that their panels are wide, pixels."""


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
    return panel(read_image(photo.file), boxes, rois, targets, labels)


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


def fixed_photos(photos: Sequence[Photo], count: int = FIXED_COUNT) -> list[Photo]:
    """The same ``count`` photos every time, from a person alone to the largest crowd."""
    peopled = [photo for photo in photos if any(person.is_target for person in photo.people)]
    ranked = sorted(peopled, key=lambda photo: sum(person.is_target for person in photo.people))
    steps = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
    return [ranked[round(float(step))] for step in steps]


def fixed_panels(
    photos: Sequence[Photo], scores: Sequence[PersonScore]
) -> Iterator[tuple[str, ImageArray]]:
    """Name and panel uint8 [H, W, 3] of each of the fixed photos; one that fails is left out."""
    for rank, photo in enumerate(fixed_photos(photos), start=1):
        own = [score for score in scores if score.photo_id == photo.id]
        if not own:
            continue
        try:
            picture = photo_panel(photo, own)
        except InputError as error:  # a picture is no reason to stop training
            LOG.warning("no panel: %s", error)
            continue
        yield f"{rank}_{Path(photo.file_name).stem}", _narrowed(picture)


def _narrowed(picture: ImageArray) -> ImageArray:
    height, width = picture.shape[:2]
    if width <= FIXED_WIDTH:
        return picture
    size = FIXED_WIDTH, max(1, round(height * FIXED_WIDTH / width))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)

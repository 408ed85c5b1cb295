"""The worst people of a validation on one sheet, each with IoU, photo and number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import save_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.pictures import GAP, person_picture

LOG = logging.getLogger(__name__)

PEOPLE = 10
"""People on a sheet."""

COLUMNS = 2
CAPTION = 24
"""Height of the line above each picture, pixels."""

INK = (60, 60, 60)
TITLE = "photo with box, truth, prediction - red: the person, blue: other people"


def write_score_sheet(
    photos: Sequence[Photo], scores: Sequence[PersonScore], min_side: float, path: Path
) -> Path | None:
    """Write the sheet of the worst people by IoU; its path comes back.

    Args:
        photos: the annotated photos.
        scores: of their people.
        min_side: shortest box side, source pixels, of a person who counts.
        path: the picture file.

    Returns:
        None where no photo of anybody who counts can be read: then nothing is written.
    """
    by_id = {photo.id: photo for photo in photos}
    counted = sorted((s for s in scores if s.min_side >= min_side), key=lambda s: s.iou)
    cards: list[ImageArray] = []
    for score in counted[:PEOPLE]:
        try:
            cards.append(person_card(len(cards) + 1, by_id[score.photo_id], score))
        except InputError as error:
            LOG.warning("not on the sheet: %s", error)
    if not cards:
        return None
    save_image(path, sheet(cards))
    return path


def person_card(rank: int, photo: Photo, score: PersonScore) -> ImageArray:
    """One person's picture uint8 [H, W, 3] RGB under a line that says who and how well."""
    picture = person_picture(photo, score)
    name = photo.file_name.encode("ascii", "replace").decode()  # all that OpenCV can write
    text = f"{rank}. IoU {score.iou:.3f}, person {score.person_id}, {name}"
    return np.concatenate([_line(text, picture.shape[1]), picture])


def sheet(cards: Sequence[ImageArray]) -> ImageArray:
    """Cards of one size row by row, uint8 [H, W, 3] RGB, with a title."""
    height, width = cards[0].shape[:2]
    rows = -(-len(cards) // COLUMNS)
    page = np.full((CAPTION + rows * (height + GAP), COLUMNS * (width + 2 * GAP), 3), 255, np.uint8)
    page[:CAPTION] = _line(TITLE, page.shape[1])
    for number, card in enumerate(cards):
        row, column = divmod(number, COLUMNS)
        y, x = CAPTION + row * (height + GAP), GAP + column * (width + 2 * GAP)
        page[y : y + height, x : x + width] = card
    return page


def _line(text: str, width: int) -> ImageArray:
    line = np.full((CAPTION, width, 3), 255, np.uint8)
    cv2.putText(line, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return line

"""Pictures of scores: panels of whole photos, and the pictures of single people in the report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import (
    AxisTransform,
    crop_mask,
    letterbox,
    pixel_bounds,
)
from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.rle import decode_rle
from human_edge_detection.core.structures import FloatArray, ImageArray, MaskClass
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.targets import PhotoMasks, roi_targets
from human_edge_detection.evaluation.bootstrap import ASPECTS
from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.metrics import BoolArray
from human_edge_detection.masks.drawing import draw_boxes
from human_edge_detection.masks.overlay import (
    BOX_COLOR,
    NON_TARGET_COLOR,
    TARGET_COLOR,
    UNKNOWN_COLOR,
    panel,
)
from human_edge_detection.masks.overlay import MARGIN as PANEL_GAP
from human_edge_detection.masks.paste import paste_window

LOG = logging.getLogger(__name__)
FIXED_COUNT, FIXED_WIDTH = 4, 1280
"""Photos shown at every validation, and the largest width of their panels, pixels."""

PHOTO_SIDE = 640
"""Longer side of a photo in a panel, pixels: small photos are enlarged and large ones reduced."""

TILES = 4
"""Most people shown one by one below a panel's photos."""

LINE_HEIGHT, INK = 30, (40, 40, 40)
LEGEND = (
    (TARGET_COLOR, "the person of the box"),
    (NON_TARGET_COLOR, "other people"),
    (UNKNOWN_COLOR, "unknown"),
    (BOX_COLOR, "box"),
)


def choose_photos(scores: Sequence[PersonScore], count: int) -> list[int]:
    """Ids of ``count`` photos spread evenly from the worst mean IoU to the best."""
    ious: dict[int, list[float]] = {}
    for score in scores:
        ious.setdefault(score.photo_id, []).append(score.iou)
    ranked = sorted(ious, key=lambda photo: float(np.mean(ious[photo])))
    steps = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
    return [ranked[round(float(step))] for step in steps]


def photo_panel(photo: Photo, scores: Sequence[PersonScore]) -> ImageArray:
    """The panel uint8 [H, W, 3] of one photo with captions and legend, from its people's scores."""
    positions = {person.id: index for index, person in enumerate(photo.people)}
    rois = np.stack([score.roi_xyxy for score in scores])
    labels = np.stack([score.labels for score in scores])
    people = np.array([positions[score.person_id] for score in scores])
    targets = roi_targets(PhotoMasks(photo), rois, people, labels.shape[-1])
    boxes = np.stack([score.box_xyxy for score in scores])
    image = read_image(photo.file)
    scale = PHOTO_SIDE / max(photo.size_hw)
    height, width = (max(1, round(side * scale)) for side in photo.size_hw)
    shown, to_shown = letterbox(image, (height, width))
    picture = panel(
        shown, to_shown.to_input(boxes), to_shown.to_input(rois), targets, labels, TILES
    )
    mean = float(np.mean([score.iou for score in scores]))
    people_text = "1 person" if len(scores) == 1 else f"{len(scores)} people"
    title = f"{photo.file_name}: {people_text}, mean IoU {mean:.3f}"
    return _captioned(picture, width, title)


def _captioned(picture: ImageArray, column: int, title: str) -> ImageArray:
    """A panel under its title, with a caption above each column of a width, and a legend below."""
    lines = np.full((2 * LINE_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    page = Image.fromarray(np.concatenate([lines, picture, lines]))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(LINE_HEIGHT * 0.6)

    def write(x: int, y: int, text: str) -> None:
        draw.text((x, y + LINE_HEIGHT // 2), text, INK, font, anchor="lm")

    write(PANEL_GAP, 0, title)
    for number, text in enumerate(("photo and boxes", "ground truth", "prediction")):
        write(number * (column + PANEL_GAP) + PANEL_GAP, LINE_HEIGHT, text)
    x, y = PANEL_GAP, page.height - 2 * LINE_HEIGHT
    for color, text in LEGEND:
        side = LINE_HEIGHT // 2
        draw.rectangle((x, y + side // 2, x + side, y + side // 2 + side), color)
        write(x + side + PANEL_GAP, y, text)
        x += side + round(font.getlength(text)) + 5 * PANEL_GAP
    write(
        PANEL_GAP,
        y + LINE_HEIGHT,
        "Below the photos: those with most of other people in their box, one by one",
    )
    return np.asarray(page, np.uint8)


def write_panels(
    photos: Sequence[Photo], scores: Sequence[PersonScore], folder: Path, count: int = 12
) -> list[Path]:
    """Write ``panel_NN_NAME.jpg`` of some photos, the worst first, and return their paths.

    Panels of that name that an earlier validation left in the folder are deleted.
    """
    by_id = {photo.id: photo for photo in photos}
    paths = []
    for rank, photo_id in enumerate(choose_photos(scores, count), start=1):
        own = [score for score in scores if score.photo_id == photo_id]
        path = folder / f"panel_{rank:02d}_{Path(by_id[photo_id].file_name).stem}.jpg"
        save_image(path, photo_panel(by_id[photo_id], own))
        paths.append(path)
    for path in set(folder.glob("panel_[0-9][0-9]_*.jpg")) - set(paths):
        path.unlink()
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


PANE_SIDE = 240
"""Height and width of each of a picture's three panes, pixels."""

GAP = 8
"""White pixels between the panes."""

MARGIN = 0.25
"""Margin shown around the box on each side, as a fraction of its longer side."""

WORST, BEST, WORST_OF_GROUP = 24, 6, 6
"""People shown of all, at either end, and at the bad end of each group."""


def choose_people(
    scores: Sequence[PersonScore], min_side: float
) -> tuple[list[PersonScore], list[PersonScore]]:
    """The worst and the best people, worst first and best first.

    The worst of all come with the worst of each size, overlap and edge group, so that a filter
    always finds some.
    """
    counted = sorted((s for s in scores if s.min_side >= min_side), key=lambda s: s.iou)
    chosen = {id(score): score for score in counted[:WORST]}
    for _, names, name_of in ASPECTS:
        for name in names:
            group = [score for score in counted if name_of(score) == name]
            chosen |= {id(score): score for score in group[:WORST_OF_GROUP]}
    best = [score for score in counted[::-1][:BEST] if id(score) not in chosen]
    return sorted(chosen.values(), key=lambda s: s.iou), best


def person_picture(photo: Photo, score: PersonScore) -> ImageArray:
    """Photo with box, ground truth and prediction side by side, uint8 [H, W, 3] RGB.

    The person is red and other people are blue, as in the panels.
    """
    image = read_image(photo.file)
    x1, y1, x2, y2 = _square_around(score.box_xyxy, photo.size_hw)
    pane, to_pane = letterbox(image[y1:y2, x1:x2], (PANE_SIDE, PANE_SIDE))
    to_window = AxisTransform(offset_xy=(-float(x1), -float(y1))).then(to_pane)
    truth, others = _true_masks(photo, score)
    predicted = decode_rle(score.mask_rle)
    others_predicted = _pasted_non_target(score, photo.size_hw) & ~predicted
    with_box = pane.copy()
    draw_boxes(
        with_box, to_window.to_input(score.box_xyxy[None]), np.array([BOX_COLOR], np.uint8), 2
    )
    panes = [
        with_box,
        _tinted(pane, [others, truth], to_window),
        _tinted(pane, [others_predicted, predicted], to_window),
    ]
    gap = np.full((PANE_SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([panes[0], gap, panes[1], gap, panes[2]], axis=1)


def _square_around(box_xyxy: FloatArray, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square of whole pixels around a box, moved into the photo; smaller if the photo is."""
    side = float((box_xyxy[2:] - box_xyxy[:2]).max()) * (1 + 2 * MARGIN)
    limits = np.array(size_hw[::-1], np.float32)
    low = (box_xyxy[:2] + box_xyxy[2:] - side) / 2
    low = np.clip(low, 0, np.maximum(limits - side, 0))
    return pixel_bounds(np.concatenate([low, low + side]).astype(np.float32), size_hw)


def _true_masks(photo: Photo, score: PersonScore) -> tuple[BoolArray, BoolArray]:
    truth = others = np.zeros(photo.size_hw, np.bool_)
    for person in photo.people:
        if person.id == score.person_id:
            truth = decode_mask(person, photo.size_hw)
        elif person.is_target:
            others = others | decode_mask(person, photo.size_hw)
    return truth, others & ~truth


def _pasted_non_target(score: PersonScore, size_hw: tuple[int, int]) -> BoolArray:
    mask = np.zeros(size_hw, np.bool_)
    is_other = np.asarray(score.labels == MaskClass.NON_TARGET, np.float32)
    values, (x1, y1, x2, y2) = paste_window(is_other, score.roi_xyxy, size_hw)
    mask[y1:y2, x1:x2] = values >= 0.5
    return mask


def _tinted(
    pane: ImageArray, masks: Sequence[NDArray[np.bool_]], transform: AxisTransform
) -> ImageArray:
    """The pane with other people's mask and the person's own laid over it, outlined."""
    whole = np.array([[0, 0, PANE_SIDE, PANE_SIDE]], np.float32)
    shown = transform.to_source(whole)[0]  # beyond the photo, crop_mask gives 0
    canvas = pane.copy()
    for mask, color in zip(masks, (NON_TARGET_COLOR, TARGET_COLOR), strict=True):
        area = np.asarray(crop_mask(mask, shown, PANE_SIDE) >= 0.5, np.uint8)
        tint = np.array(color, np.float32)
        canvas[area > 0] = (0.5 * canvas[area > 0] + 0.5 * tint).astype(np.uint8)
        outlines, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, color, 1)
    return canvas

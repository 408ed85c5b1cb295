"""Pictures of masks for people to look at: overlays of a crowd and panels against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import (
    IGNORE_INDEX,
    NOT_TARGET_INDEX,
    Bounds,
    FloatArray,
    ImageArray,
    MaskClass,
    as_boxes,
)
from human_edge_detection.masks import fusion as masks
from human_edge_detection.masks.palette import person_colors
from human_edge_detection.masks.paste import paste_window
from human_edge_detection.masks.tags import Tag, draw_tags, place_tag

TARGET_COLOR = (230, 30, 40)
NON_TARGET_COLOR = (40, 90, 255)
UNKNOWN_COLOR = (150, 150, 150)
BOX_COLOR = (255, 215, 0)
MARGIN = 6
"""Pixels between the pictures of a panel."""


def draw_people(
    image: ImageArray,
    people: Iterable[tuple[NDArray[np.bool_], Bounds]],
    alpha: float = 0.4,
    texts: Sequence[str] = (),
    boxes_xyxy: FloatArray | None = None,
) -> ImageArray:
    """The image with every person tinted, outlined and tagged, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3] RGB; left as it is.
        people: each person's mask, bool [h, w], and the window ``x1, y1, x2, y2`` that it fills;
            taken one at a time.
        alpha: opacity of the tint, 0…1.
        texts: what to write on each person, or () for nothing.
        boxes_xyxy: float32 [N, 4] boxes to draw in the people's colours, or None.
    """
    canvas = image.copy()
    colors = person_colors(len(boxes_xyxy) if boxes_xyxy is not None else max(len(texts), 1))
    width = line_width(image.shape[:2])
    tags: list[Tag] = []
    for person, (mask, bounds) in enumerate(people):
        if person >= len(colors):
            colors = person_colors(2 * person)
        _tint(canvas, mask, bounds, colors[person], alpha, width)
        if texts:
            tags.append(place_tag(mask, bounds, texts[person], image.shape[:2]))
    if boxes_xyxy is not None:
        draw_boxes(canvas, boxes_xyxy, colors, width)
    return draw_tags(canvas, tags)


def line_width(size_hw: tuple[int, ...]) -> int:
    """Width in pixels of a line that shows in an image of ``size_hw`` without hiding much."""
    return max(1, round(min(size_hw[:2]) / 350))


def _tint(
    canvas: ImageArray,
    mask: NDArray[np.bool_],
    bounds: Bounds,
    color: NDArray[np.uint8],
    alpha: float,
    width: int,
) -> None:
    if not mask.any():
        return
    x1, y1, x2, y2 = bounds
    region = canvas[y1:y2, x1:x2]
    row = np.tile(color, (x2 - x1, 1))  # by rows: pixel by pixel NumPy takes ten times as long
    solid = np.broadcast_to(row, region.shape).copy()
    tinted = cv2.addWeighted(region, 1 - alpha, solid, alpha, 0)
    cv2.copyTo(tinted, mask.astype(np.uint8), region)  # in place
    cv2.copyTo(solid, _rim(mask, width).astype(np.uint8), region)


def _rim(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The mask's outermost pixels, without those along the window's border."""
    if mask.size == 0:
        return mask
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=width)
    return np.asarray(mask & (inner == 0))


def draw_boxes(
    canvas: ImageArray, boxes_xyxy: FloatArray, colors: NDArray[np.uint8], width: int
) -> None:
    """Draw boxes [N, 4] into ``canvas``, one colour each."""
    size_hw = (canvas.shape[0], canvas.shape[1])
    for box, color in zip(as_boxes(boxes_xyxy), colors, strict=False):
        x1, y1, x2, y2 = geometry.pixel_bounds(box, size_hw)
        if x2 > x1 and y2 > y1:
            corners = (x1, y1), (x2 - 1, y2 - 1)
            cv2.rectangle(canvas, *corners, tuple(int(value) for value in color), width)


def overlay_masks_on_image(
    image: ImageArray | Image.Image,
    masks_rois: NDArray[np.floating],
    rois: FloatArray,
    threshold: float = 0.5,
    alpha: float = 0.5,
    combine: str = "max",
    smooth: float = 0.0,
) -> Image.Image:
    """The image with every ROI's mask drawn in a colour of its own.

    ROIs are pasted one after the other, so that hundreds of them take no more memory than one.

    Args:
        image: uint8 [H, W, 3] RGB, or a Pillow image.
        masks_rois: probabilities of the target [N, M, M], or of the three classes [N, 3, M, M].
        rois: float [N, 4] xyxy in the image's pixels, what each mask covers.
        threshold: least probability.
        alpha: opacity of the tint, 0…1.
        combine: rule where ROIs overlap, ``max``, ``mean``, ``priority`` (the earlier ROI wins)
            or another of ``masks.RULES``.
        smooth: Gaussian smoothing of the masks' edges, in bins of the masks.
    """
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    probs = masks.smooth(masks.as_class_probs(np.asarray(masks_rois)), smooth)
    boxes, size_hw = as_boxes(rois, "rois"), (pixels.shape[0], pixels.shape[1])
    if len(boxes) != len(probs):
        raise ValueError(f"rois must have {len(probs)} rows like masks, but got {len(boxes)}")
    # To arbitrate by, scores are how sure it is that people exist; elsewhere they are an order.
    everybody, first_wins = (
        np.ones(len(probs), np.float32),
        -np.arange(len(probs), dtype=np.float32),
    )
    scores = everybody if combine == "arbitrate" else first_wins
    labels = masks.fuse(probs, boxes, scores, size_hw, threshold, combine)
    windows = geometry.all_roi_bounds(boxes, size_hw).tolist()
    people = (
        (labels[y1:y2, x1:x2] == person + 1, (x1, y1, x2, y2))
        for person, (x1, y1, x2, y2) in enumerate(windows)
    )
    return Image.fromarray(draw_people(pixels, people, alpha))


def panel(
    image: ImageArray,
    boxes_xyxy: FloatArray,
    rois_xyxy: FloatArray,
    target_labels: NDArray[np.integer],
    predicted_labels: NDArray[np.integer],
    max_tiles: int = 6,
) -> ImageArray:
    """Photo with boxes, ground truth and prediction side by side; below, the hardest ROIs.

    Targets are red, other people blue, unknown pixels grey. In the large pictures a pixel is red
    if it is any ROI's target. Below them, the ROIs with most other people in them, each with its
    own labels only: there it shows whether targets are told from their neighbours.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes_xyxy: float32 [N, 4] in the image's pixels, for the left picture.
        rois_xyxy: float32 [N, 4] in the image's pixels, what each mask covers.
        target_labels: integers [N, M, M]: classes of ``MaskClass``, 254 or 255.
        predicted_labels: integers [N, M, M]: classes of ``MaskClass``.
        max_tiles: most ROIs to show below.

    Returns:
        uint8 [H', W', 3].
    """
    photo = image.copy()
    colors = np.tile(np.array(BOX_COLOR, np.uint8), (len(boxes_xyxy), 1))
    draw_boxes(photo, boxes_xyxy, colors, line_width(image.shape))
    rois = as_boxes(rois_xyxy, "rois_xyxy")
    both = [np.asarray(target_labels), np.asarray(predicted_labels)]
    columns = [photo, *(draw_labels(image, rois, labels) for labels in both)]
    others = (both[0] == MaskClass.NON_TARGET).sum(axis=(1, 2))
    shown = np.argsort(-others, kind="stable")[:max_tiles]
    if len(shown):
        nothing = np.full_like(both[0], MaskClass.BACKGROUND)
        strips = [
            _tiles(image, rois[shown], labels[shown], max_tiles) for labels in (nothing, *both)
        ]
        columns = [_stack(pair, axis=0) for pair in zip(columns, strips, strict=True)]
    return _stack(columns, axis=1)


def _tiles(
    image: ImageArray, rois_xyxy: FloatArray, labels: NDArray[np.integer], columns: int
) -> ImageArray:
    """Each ROI's part of the image with its own labels, in a row as wide as the image."""
    width = image.shape[1]
    height = max(1, round(1.5 * width / columns))
    row = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for roi, label in zip(rois_xyxy, labels, strict=True):
        x1, y1, x2, y2 = geometry.roi_bounds(roi, (image.shape[0], image.shape[1]))
        side = min(width, round(height * (x2 - x1) / max(y2 - y1, 1)))
        if side < 1 or left + side > width:
            continue
        inside = (roi - np.array([x1, y1, x1, y1], np.float32))[None]
        tile = draw_labels(np.ascontiguousarray(image[y1:y2, x1:x2]), inside, label[None])
        row[:, left : left + side] = geometry.letterbox(tile, (height, side))[0]
        left += side + MARGIN
    return row


def _stack(pictures: Sequence[ImageArray], axis: int) -> ImageArray:
    """Pictures in a row (axis 1) or one below the other (axis 0), with white between them."""
    shape = list(pictures[0].shape)
    shape[axis] = MARGIN
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([part for p in pictures for part in (p, gap)][:-1], axis=axis)


def draw_labels(
    image: ImageArray, rois_xyxy: FloatArray, labels: NDArray[np.integer], alpha: float = 0.5
) -> ImageArray:
    """The image with every ROI's labels painted in: target over others over unknown.

    Each target has a white rim, so that two of them that touch stay two.
    """
    layers = (
        (UNKNOWN_COLOR, (NOT_TARGET_INDEX, IGNORE_INDEX)),
        (NON_TARGET_COLOR, (int(MaskClass.NON_TARGET),)),
        (TARGET_COLOR, (int(MaskClass.TARGET),)),
    )
    size_hw = (image.shape[0], image.shape[1])
    canvas, rims = image.copy(), np.zeros(size_hw, np.bool_)
    for color, classes in layers:
        painted = np.zeros(size_hw, np.bool_)
        for roi, label in zip(rois_xyxy, labels, strict=True):
            share = np.isin(label, classes).astype(np.float32)
            window, (x1, y1, x2, y2) = paste_window(share, roi, size_hw)
            painted[y1:y2, x1:x2] |= window >= 0.5
            if MaskClass.TARGET in classes:
                rims[y1:y2, x1:x2] |= _rim(window >= 0.5, 1)
        tint = np.asarray(color) * alpha
        canvas[painted] = (image[painted] * (1 - alpha) + tint).astype(np.uint8)
    canvas[rims] = 255
    return canvas

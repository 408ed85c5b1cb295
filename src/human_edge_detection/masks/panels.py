"""Pictures of ROIs with their labels: ground truth and prediction side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import (
    IGNORE_INDEX,
    NOT_TARGET_INDEX,
    FloatArray,
    ImageArray,
    MaskClass,
    as_boxes,
)
from human_edge_detection.masks.drawing import draw_boxes, line_width, mask_rim
from human_edge_detection.masks.overlay import NON_TARGET_COLOR, TARGET_COLOR
from human_edge_detection.masks.paste import paste_window

UNKNOWN_COLOR = (150, 150, 150)
BOX_COLOR = (255, 215, 0)
MARGIN = 6
"""Pixels between the pictures of a panel."""


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
    if it is the target of any ROI. Below are the ROIs with the most non-target pixels, each with
    its own labels only, which show whether targets are separated from their neighbours.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes_xyxy: float32 [N, 4] in the image's pixels, for the left picture.
        rois_xyxy: float32 [N, 4] in the image's pixels, what each mask covers.
        target_labels: integers [N, M, M]: classes of ``MaskClass``, 254 or 255.
        predicted_labels: integers [N, M, M]: classes of ``MaskClass``.
        max_tiles: largest number of ROIs below.

    Returns:
        uint8 [H', W', 3].

    Raises:
        ValueError: if a box or ROI is no finite [N, 4].
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
                rims[y1:y2, x1:x2] |= mask_rim(window >= 0.5, 1)
        tint = np.asarray(color) * alpha
        canvas[painted] = (image[painted] * (1 - alpha) + tint).astype(np.uint8)
    canvas[rims] = 255
    return canvas

"""A model's output drawn over its photo, and panels that show it beside the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from human_edge_detection.core import geometry
from human_edge_detection.core.errors import InputError, check_fraction
from human_edge_detection.core.images import check_image
from human_edge_detection.core.structures import (
    IGNORE_INDEX,
    NOT_TARGET_INDEX,
    FloatArray,
    ImageArray,
    MaskClass,
    as_boxes,
)
from human_edge_detection.masks import probabilities
from human_edge_detection.masks.drawing import draw_boxes, draw_people, line_width, mask_rim
from human_edge_detection.masks.fusion import RULES, fuse
from human_edge_detection.masks.paste import paste_masks, paste_window

TARGET_COLOR = (230, 30, 40)
NON_TARGET_COLOR = (40, 90, 255)

ROUNDING = 1e-3
"""How far probabilities may lie outside 0…1."""

SUM_ROUNDING = 1e-2
"""How far from 1 probabilities of the three classes, float16 or smoothed, may sum."""

COMBINE_WORDS = {"maximum": "max", "average": "mean"}
"""Further names of overlap rules that :func:`overlay_masks_on_image` takes."""


def overlay_masks_on_image(
    image: ImageArray | Image.Image,
    masks: Any,
    rois: Any,
    threshold: float = 0.5,
    alpha: float = 0.5,
    combine: str = "max",
    smooth: float = 0.0,
    instance_colors: bool = False,
    logits: bool | None = None,
) -> Image.Image:
    """The image with the masks of its ROIs, targets red and non-targets blue.

    Targets own their pixels by the rule ``combine``. Pixels without an owner are blue where the
    non-target probability of any ROI reaches the threshold.

    Arrays and torch tensors of any device are taken, also those with gradients.

    Args:
        image: uint8 [H, W, 3] RGB, or a Pillow image.
        masks: logits of the three classes [N, 3, M, M] as the model returns them, their
            probabilities, or probabilities of the target [N, M, M], which show no non-targets.
            Probabilities lie in 0…1 and sum to 1 over the classes; values outside 0…1 are logits.
        rois: [N, 4] ``x1, y1, x2, y2`` in the image's pixels, or [N, 5] with the batch index in
            front, the same in all rows.
        threshold: least probability, 0…1.
        alpha: opacity of the tint, 0…1.
        combine: rule where ROIs overlap: ``max`` (or ``maximum``), ``mean`` (or ``average``),
            ``priority`` (the earlier ROI wins), ``arbitrate`` or ``independent``.
        smooth: standard deviation of a Gaussian that smooths the masks' edges, in bins.
        instance_colors: draw every person in a colour of its own, and no non-targets.
        logits: whether ``masks`` are logits; None to decide by their values.

    Raises:
        InputError: naming the parameter that cannot be used, and ``masks`` where their values
            could be either logits or probabilities.
    """
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    size_hw = (check_image(pixels).shape[0], pixels.shape[1])
    rule = COMBINE_WORDS.get(combine, combine)
    if rule not in RULES:
        known = ", ".join((*RULES, *COMBINE_WORDS))
        raise InputError(f"combine must be one of {known}, but got {combine!r}")
    for name, value in (("threshold", threshold), ("alpha", alpha)):
        check_fraction(name, value)
    values = _as_array(masks, "masks")
    probs = probabilities.smooth(_probabilities(values, logits), smooth)
    boxes = _roi_boxes(_as_array(rois, "rois"))
    if len(boxes) != len(probs):
        raise InputError(f"rois must have {len(probs)} rows like masks, but got {len(boxes)}")
    # `arbitrate` reads scores as probabilities that people exist, the other rules as an order.
    falling = -np.arange(len(probs), dtype=np.float32)
    scores = np.ones_like(falling) if rule == "arbitrate" else falling
    labels = fuse(probs, boxes, scores, size_hw, threshold, rule)
    windows = geometry.all_roi_bounds(boxes, size_hw)
    if not instance_colors and values.ndim == 4:
        pixels = _tint_others(pixels, probs, boxes, windows, labels, threshold, alpha)
    people = (
        (labels[y1:y2, x1:x2] == person + 1, (x1, y1, x2, y2))
        for person, (x1, y1, x2, y2) in enumerate(windows.tolist())
    )
    color = None if instance_colors else TARGET_COLOR
    return Image.fromarray(draw_people(pixels, people, alpha, color=color))


def _as_array(values: Any, name: str) -> FloatArray:
    """float32, from an array or a tensor; torch is not imported for it."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers: {error}") from error
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite, but hold NaN or infinite values")
    return array


def _roi_boxes(rois: FloatArray) -> FloatArray:
    """Boxes float32 [N, 4] of ROIs [N, 4] or [N, 5]."""
    if rois.ndim == 2 and rois.shape[1] == 5:
        images = np.unique(rois[:, 0])
        if len(images) > 1:
            found = ", ".join(f"{number:g}" for number in images[:5])
            raise InputError(
                f"rois must be of one image, but their batch indices are {found}: "
                "select the rows of the image, in masks too"
            )
        rois = rois[:, 1:]
    elif rois.size and (rois.ndim != 2 or rois.shape[1] != 4):
        raise InputError(f"rois must have shape [N, 4] or [N, 5], but got {list(rois.shape)}")
    return as_boxes(rois, "rois")


def _probabilities(masks: FloatArray, logits: bool | None) -> NDArray[np.floating]:
    """Probabilities [N, 3, M, M] of ``masks``, whichever of its kinds they are."""
    low, high = (float(masks.min()), float(masks.max())) if masks.size else (0.0, 0.0)
    is_inside = -ROUNDING <= low and high <= 1 + ROUNDING
    if masks.ndim == 4 and masks.shape[1] == len(MaskClass):
        is_sure = is_inside and bool((np.abs(masks.sum(axis=1) - 1) <= SUM_ROUNDING).all())
        if logits is None and is_inside and not is_sure:
            raise InputError(
                "masks lie in 0…1 but do not sum to 1 over the classes, so they may be logits or "
                "not: pass logits=True, or probabilities that sum to 1"
            )
        if logits is False and not is_sure:
            raise InputError(
                f"masks must be probabilities that sum to 1 over the classes (logits=False), but "
                f"are {low:g} … {high:g}"
            )
        return probabilities.softmax(masks) if logits or not is_sure else masks
    try:
        probs = probabilities.as_class_probs(masks)
    except ValueError as error:
        raise InputError(str(error)) from error
    if logits or not is_inside:
        raise InputError(
            f"masks [N, M, M] must be probabilities of the target in 0…1, but are {low:g} … "
            f"{high:g}: pass the logits of all three classes, [N, 3, M, M]"
        )
    return probs


def _tint_others(
    image: ImageArray,
    probs: NDArray[np.floating],
    rois_xyxy: FloatArray,
    windows: NDArray[np.int64],
    labels: NDArray[np.int32],
    threshold: float,
    alpha: float,
) -> ImageArray:
    """A copy of the image with non-target pixels of any ROI in blue, unless they have an owner."""
    others = np.zeros(labels.shape, np.bool_)
    masks = paste_masks(probs[:, MaskClass.NON_TARGET], rois_xyxy, windows, threshold)
    for mask, (x1, y1, x2, y2) in zip(masks, windows.tolist(), strict=True):
        others[y1:y2, x1:x2] |= mask
    others &= labels == 0
    canvas = image.copy()
    tint = np.asarray(NON_TARGET_COLOR) * alpha
    canvas[others] = np.rint(image[others] * (1 - alpha) + tint).astype(np.uint8)
    return canvas


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

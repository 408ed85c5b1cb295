"""Boxes: checks of what a caller gives, padding, areas, overlaps and suppression."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.structures import FloatArray, as_boxes


def check_boxes(boxes_xyxy: object) -> FloatArray:
    """Boxes float32 [N, 4] that are finite and not reversed.

    Raises:
        InputError: naming the first wrong row.
    """
    try:
        boxes = as_boxes(boxes_xyxy)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"boxes_xyxy is not usable: {error}") from error
    with np.errstate(over="ignore"):
        endless = np.flatnonzero(~np.isfinite(boxes[:, 2:] - boxes[:, :2]).all(axis=1))
    if endless.size:
        row = int(endless[0])
        raise InputError(f"boxes_xyxy[{row}] is too large: {boxes[row].tolist()}")
    reversed_rows = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if reversed_rows.size:
        row = int(reversed_rows[0])
        raise InputError(
            f"boxes_xyxy[{row}] is reversed: {boxes[row].tolist()} must be x1, y1, x2, y2 with "
            "x1 <= x2 and y1 <= y2 (or are they x, y, width, height?)"
        )
    return boxes


def check_scores(scores: FloatArray | Sequence[float] | None, count: int) -> FloatArray:
    """Scores float32 [count], ones if none are given.

    Raises:
        InputError: if they are not ``count`` finite numbers.
    """
    try:
        values = np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"scores are not usable: {error}") from error
    if values.shape != (count,) or not np.isfinite(values).all():
        raise InputError(
            f"scores must be {count} finite numbers, one per box, but got {shown(values.tolist())}"
        )
    return values


def check_ids(ids: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Ids as a tuple, empty if none are given.

    Raises:
        InputError: if there are not ``count`` of them, or one is no integer.
    """
    if ids is None:
        return ()
    try:
        numbers = tuple(map(operator.index, ids))
    except TypeError as error:
        raise InputError(f"ids must be integers, but got {shown(ids)}") from error
    if len(numbers) != count:
        raise InputError(f"ids must be {count}, one per box, but got {len(numbers)}")
    return numbers


def clip_boxes(boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """Boxes float32 [N, 4] cut to an image of ``size_hw``; boxes outside become empty."""
    height, width = size_hw
    limit = np.array([width, height, width, height], np.float32)
    return np.clip(as_boxes(boxes_xyxy), 0.0, limit).astype(np.float32)


def expand_boxes(boxes_xyxy: FloatArray, padding: float) -> FloatArray:
    """Boxes float32 [N, 4] grown on each side by ``padding`` times their own side."""
    boxes = as_boxes(boxes_xyxy)
    margin = np.tile((boxes[:, 2:] - boxes[:, :2]) * np.float32(padding), 2)
    return np.asarray(boxes + margin * np.array([-1, -1, 1, 1], np.float32), np.float32)


def padded_rois(boxes_xyxy: FloatArray, padding: float, size_hw: tuple[int, int]) -> FloatArray:
    """The region float32 [N, 4] that each box's mask covers: grown by ``padding`` and clipped.

    All in source pixels. Training, validation, export and inference use this rule.
    """
    return clip_boxes(expand_boxes(boxes_xyxy, padding), size_hw)


def box_areas(boxes_xyxy: FloatArray) -> FloatArray:
    """Areas float32 [N] in square pixels; 0 for empty and reversed boxes, inf past float32."""
    boxes = as_boxes(boxes_xyxy)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    with np.errstate(over="ignore"):
        return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def box_iou(first_xyxy: FloatArray, second_xyxy: FloatArray) -> FloatArray:
    """Intersection over union float32 [N, M] of two sets of boxes; 0 where both are empty."""
    first, second = as_boxes(first_xyxy), as_boxes(second_xyxy)
    width, height = (  # one axis after the other: NumPy is slow along an axis of two
        np.minimum.outer(first[:, axis + 2], second[:, axis + 2])
        - np.maximum.outer(first[:, axis], second[:, axis])
        for axis in (0, 1)
    )
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = box_areas(first)[:, None] + box_areas(second)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float32)


def nms(boxes_xyxy: FloatArray, iou: float) -> list[int]:
    """Rows that greedy non-maximum suppression keeps of boxes [K, 4], sorted best first.

    A box is dropped if its IoU with a better one that is kept exceeds ``iou``.
    """
    keep: list[int] = []
    alive = np.ones(len(boxes_xyxy), bool)
    for row in range(len(boxes_xyxy)):
        if alive[row]:
            keep.append(row)
            alive &= box_iou(boxes_xyxy[row : row + 1], boxes_xyxy)[0] <= iou
    return keep

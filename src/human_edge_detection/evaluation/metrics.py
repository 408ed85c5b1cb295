"""Numbers of masks: confusion of the three classes, class IoUs, mask IoU, Boundary IoU."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.geometry import mask_window
from human_edge_detection.core.structures import MaskClass

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Numbers = NDArray[np.float64]

CLASS_COUNT = len(MaskClass)
BOUNDARY_RATIO = 0.02
"""Width of the edge band of :func:`boundary_iou`, as a fraction of the image's diagonal."""


def confusion_matrix(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> IntArray:
    """Pixel counts int64 [3, 3], row the true class, column the predicted one.

    Args:
        predicted: labels 0/1/2 of any shape.
        target: labels of the same shape; 254 and 255 (unknown) are not counted.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"predicted has shape {predicted.shape}, but target {target.shape}")
    known = target < CLASS_COUNT
    pairs = target[known].astype(np.int64) * CLASS_COUNT + predicted[known]
    return np.bincount(pairs, minlength=CLASS_COUNT**2).reshape(CLASS_COUNT, CLASS_COUNT)


def ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Numbers:
    """``part / whole``, float64 of their shape; NaN where the whole is 0."""
    nothing = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=nothing, where=np.asarray(whole) > 0))


def class_ious(matrix: NDArray[np.number]) -> Numbers:
    """IoU of each class, float64 [..., 3], from [..., 3, 3]; NaN for a class without pixels."""
    shared = np.diagonal(matrix, axis1=-2, axis2=-1)
    return ratio(shared, matrix.sum(axis=-1) + matrix.sum(axis=-2) - shared)


def pooled_ious(matrix: NDArray[np.number]) -> dict[str, Numbers]:
    """``miou`` and the IoU of each class, float64 [...], from pooled confusion [..., 3, 3].

    ``miou`` is the mean of target and non-target, of those that occur.
    """
    ious = class_ious(matrix)
    target, non_target = ious[..., MaskClass.TARGET], ious[..., MaskClass.NON_TARGET]
    target_if_known = np.where(np.isnan(target), non_target, target)
    non_target_if_known = np.where(np.isnan(non_target), target, non_target)
    return {
        "miou": np.asarray((target_if_known + non_target_if_known) / 2),
        "iou_background": ious[..., MaskClass.BACKGROUND],
        "iou_target": target,
        "iou_non_target": non_target,
    }


def image_iou(first: BoolArray, second: BoolArray) -> float:
    """Intersection over union of two masks bool [H, W]; NaN if both are empty."""
    shared = np.count_nonzero(first & second)
    union = np.count_nonzero(first) + np.count_nonzero(second) - shared
    return shared / union if union else float("nan")


def boundary_width(size_hw: tuple[int, int]) -> int:
    """Width of the edge band for an image of ``size_hw``, pixels, at least 1."""
    return max(1, round(BOUNDARY_RATIO * float(np.hypot(*size_hw))))


def inner_boundary(mask: BoolArray, width: int) -> BoolArray:
    """The mask's pixels within ``width`` of its edge, bool [H, W]; the image's edge is an edge."""
    framed = np.pad(mask.astype(np.uint8), 1)
    inside = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)
    return np.asarray(mask & (inside[1:-1, 1:-1] == 0))


def boundary_iou(first: BoolArray, second: BoolArray) -> float:
    """Boundary IoU (Cheng et al. 2021) of two masks bool [H, W]; NaN if both are empty."""
    x1, y1, x2, y2 = mask_window(first | second)
    width = boundary_width((first.shape[0], first.shape[1]))
    window = (slice(y1, y2), slice(x1, x2))
    return image_iou(inner_boundary(first[window], width), inner_boundary(second[window], width))

"""The numbers of this project, each with its name: pooled class IoU, mask IoU, boundary IoU.

``miou`` pools intersections and unions of the 56×56 labels over all ROIs and takes the mean of
target and non-target. ``image_iou`` compares two masks of one person in the source frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import MaskClass

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

CLASS_COUNT = len(MaskClass)
BOUNDARY_RATIO = 0.02
"""Width of the edge band of :func:`boundary_iou`, as a part of the image's diagonal."""


def confusion_matrix(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> IntArray:
    """Pixel counts int64 [3, 3], row the true class, column the predicted one.

    Args:
        predicted: labels 0/1/2 of any shape.
        target: labels of the same shape; 254 and 255 are left out.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"predicted has shape {predicted.shape}, but target {target.shape}")
    known = target < CLASS_COUNT
    pairs = target[known].astype(np.int64) * CLASS_COUNT + predicted[known]
    return np.bincount(pairs, minlength=CLASS_COUNT**2).reshape(CLASS_COUNT, CLASS_COUNT)


def class_ious(matrix: IntArray) -> NDArray[np.float64]:
    """IoU of each class, float64 [3], from a confusion matrix; NaN for a class nobody has."""
    shared = np.diag(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    ious = np.full(CLASS_COUNT, np.nan)
    np.divide(shared, union, out=ious, where=union > 0)
    return ious


def mean_person_iou(matrix: IntArray) -> float:
    """``miou``: the mean IoU of target and non-target, of those that occur; NaN without any."""
    ious = class_ious(matrix)[[MaskClass.TARGET, MaskClass.NON_TARGET]]
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")


def separation_accuracy(matrix: IntArray) -> float:
    """Share of the true person pixels given to their right owner; NaN without person pixels.

    A person pixel called background has no owner and counts as wrong.
    """
    people = int(matrix[1:].sum())
    return float(matrix[1, 1] + matrix[2, 2]) / people if people else float("nan")


def swap_rate(matrix: IntArray) -> float:
    """Share of the true person pixels given to the wrong person; NaN without person pixels."""
    people = int(matrix[1:].sum())
    return float(matrix[1, 2] + matrix[2, 1]) / people if people else float("nan")


class MaskConfusion:
    """Confusion of the three classes pooled over all ROIs: update, compute, reset."""

    def __init__(self) -> None:
        self.matrix = np.zeros((CLASS_COUNT, CLASS_COUNT), np.int64)

    def update(self, predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Add the labels [N, M, M] of some ROIs; target pixels 254 and 255 are left out."""
        self.matrix += confusion_matrix(predicted, target)

    def compute(self) -> dict[str, float]:
        """``miou`` and the IoU of each class so far; NaN where nothing was seen."""
        background, target, non_target = (float(iou) for iou in class_ious(self.matrix))
        return {
            "miou": mean_person_iou(self.matrix),
            "iou_background": background,
            "iou_target": target,
            "iou_non_target": non_target,
        }

    def reset(self) -> None:
        """Forget everything seen."""
        self.matrix[:] = 0


def target_iou_roi(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Target-class IoU of one ROI [M, M], known pixels only; NaN where neither has a target."""
    return float(class_ious(confusion_matrix(predicted, target))[MaskClass.TARGET])


def image_iou(first: BoolArray, second: BoolArray) -> float:
    """Intersection over union of two bool masks [H, W]; NaN when both are empty."""
    shared = np.count_nonzero(first & second)
    union = np.count_nonzero(first) + np.count_nonzero(second) - shared
    return shared / union if union else float("nan")


def boundary_width(size_hw: tuple[int, int]) -> int:
    """Width in pixels of the edge band for an image of ``size_hw``, at least 1."""
    return max(1, round(BOUNDARY_RATIO * float(np.hypot(*size_hw))))


def inner_boundary(mask: BoolArray, width: int) -> BoolArray:
    """The mask's pixels within ``width`` of its edge, bool [H, W]; the image's edge is an edge."""
    framed = np.pad(mask.astype(np.uint8), 1)
    inside = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)
    return np.asarray(mask & (inside[1:-1, 1:-1] == 0))


def boundary_iou(first: BoolArray, second: BoolArray) -> float:
    """Boundary IoU (Cheng et al. 2021) of two bool masks [H, W]; NaN when both are empty."""
    either = first | second
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not rows.size:
        return float("nan")
    width = boundary_width((first.shape[0], first.shape[1]))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return image_iou(inner_boundary(first[window], width), inner_boundary(second[window], width))

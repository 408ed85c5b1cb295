"""The headline numbers of a set of scored people, as functions of sums over photos.

Every number is a ratio of sums, so one definition serves the whole set, any part of it, and all
resamplings of a bootstrap at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.evaluation.evaluate import PersonScore

Sums = NDArray[np.float64]

_POOLED = slice(0, 9)
_CONTESTED = slice(9, 18)
_ROI, _IMAGE, _BOUNDARY = slice(18, 20), slice(20, 22), slice(22, 24)
SUM_COUNT = 24

HEADLINES = {
    "target_iou_image": "mean over people of the mask IoU at source resolution",
    "boundary_iou": "mean over people of the Boundary IoU at source resolution",
    "miou": "mean of target and non-target IoU at 56×56, pooled over all ROIs",
    "iou_background": "background IoU at 56×56, pooled",
    "iou_target": "target IoU at 56×56, pooled",
    "iou_non_target": "non-target IoU at 56×56, pooled",
    "target_iou_roi": "mean over ROIs of the target IoU at 56×56",
    "contested_iou_non_target": "non-target IoU, only ROIs that hold somebody else",
    "separation_accuracy": "person pixels given to their owner, only ROIs with somebody else",
    "swap_rate": "person pixels given to the wrong person, only ROIs with somebody else",
}
"""Every headline number and what it says."""


def person_sums(score: PersonScore, min_side: float) -> Sums:
    """What one person adds to the sums, float64 [SUM_COUNT]."""
    sums = np.zeros(SUM_COUNT)
    sums[_POOLED] = score.confusion.ravel()
    if score.has_non_target:
        sums[_CONTESTED] = score.confusion.ravel()
    sums[_ROI] = _term(score.iou_roi)
    if score.min_side >= min_side:
        sums[_IMAGE] = _term(score.iou)
        sums[_BOUNDARY] = _term(score.boundary_iou)
    return sums


def photo_sums(scores: Sequence[PersonScore], min_side: float) -> dict[int, Sums]:
    """The sums of each photo, by photo id."""
    photos: dict[int, Sums] = {}
    for score in scores:
        own = photos.setdefault(score.photo_id, np.zeros(SUM_COUNT))
        own += person_sums(score, min_side)
    return photos


def numbers_of(sums: Sums) -> dict[str, NDArray[np.float64]]:
    """The headline numbers float64 [...] of sums [..., SUM_COUNT]; NaN where nothing counts."""
    pooled = sums[..., _POOLED].reshape(*sums.shape[:-1], 3, 3)
    contested = sums[..., _CONTESTED].reshape(*sums.shape[:-1], 3, 3)
    ious, contested_ious = _class_ious(pooled), _class_ious(contested)
    people = contested[..., 1:, :].sum(axis=(-2, -1))
    owned = contested[..., 1, 1] + contested[..., 2, 2]
    swapped = contested[..., 1, 2] + contested[..., 2, 1]
    return {
        "target_iou_image": _mean(sums[..., _IMAGE]),
        "boundary_iou": _mean(sums[..., _BOUNDARY]),
        "miou": _mean_known(ious[..., 1], ious[..., 2]),
        "iou_background": ious[..., 0],
        "iou_target": ious[..., 1],
        "iou_non_target": ious[..., 2],
        "target_iou_roi": _mean(sums[..., _ROI]),
        "contested_iou_non_target": contested_ious[..., 2],
        "separation_accuracy": _ratio(owned, people),
        "swap_rate": _ratio(swapped, people),
    }


def headline(scores: Sequence[PersonScore], min_side: float) -> dict[str, float]:
    """The headline numbers of some people; NaN where nothing counts."""
    total = sum(photo_sums(scores, min_side).values(), np.zeros(SUM_COUNT))
    return {name: float(value) for name, value in numbers_of(total).items()}


def _term(value: float) -> tuple[float, float]:
    return (value, 1.0) if value == value else (0.0, 0.0)


def _ratio(part: Sums, whole: Sums) -> Sums:
    nothing = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=nothing, where=np.asarray(whole) > 0))


def _mean(pair: Sums) -> Sums:
    return _ratio(pair[..., 0], pair[..., 1])


def _mean_known(first: Sums, second: Sums) -> Sums:
    first_or_second = np.where(np.isnan(first), second, first)
    second_or_first = np.where(np.isnan(second), first, second)
    return np.asarray((first_or_second + second_or_first) / 2)


def _class_ious(matrix: Sums) -> Sums:
    shared = np.diagonal(matrix, axis1=-2, axis2=-1)
    return _ratio(shared, matrix.sum(axis=-1) + matrix.sum(axis=-2) - shared)

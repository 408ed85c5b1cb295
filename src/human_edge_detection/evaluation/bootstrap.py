"""Headline numbers of scored people, whole and by group, with bootstrap intervals over photos.

Every number is a ratio of sums over photos, so one definition serves the whole set, any part of
it, and all resamplings at once. Photos are resampled, not people: the people of one photo share
its light and its crowd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from human_edge_detection.core.structures import MaskClass
from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.metrics import Numbers, class_ious, pooled_ious, ratio

ROUNDS = 2000
LEVEL = 0.95
LEAST_PHOTOS = 3
"""Photos with a value that an interval needs: resampling two of them gives three values."""

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
    "contested_iou_non_target": "non-target IoU, in ROIs with other people",
    "separation_accuracy": "person pixels given to their owner, in ROIs with other people",
    "swap_rate": "person pixels given to the wrong person, in ROIs with other people",
}
"""Every headline number and what it is."""


def person_sums(score: PersonScore, min_side: float) -> Numbers:
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


def photo_sums(scores: Sequence[PersonScore], min_side: float) -> dict[int, Numbers]:
    """The sums of each photo, by photo id."""
    photos: dict[int, Numbers] = {}
    for score in scores:
        own = photos.setdefault(score.photo_id, np.zeros(SUM_COUNT))
        own += person_sums(score, min_side)
    return photos


def numbers_of(sums: Numbers) -> dict[str, Numbers]:
    """The headline numbers float64 [...] of sums [..., SUM_COUNT]; NaN where no person counts."""
    pooled = sums[..., _POOLED].reshape(*sums.shape[:-1], 3, 3)
    contested = sums[..., _CONTESTED].reshape(*sums.shape[:-1], 3, 3)
    people = contested[..., 1:, :].sum(axis=(-2, -1))
    owned = contested[..., 1, 1] + contested[..., 2, 2]
    swapped = contested[..., 1, 2] + contested[..., 2, 1]
    return {
        "target_iou_image": _mean(sums[..., _IMAGE]),
        "boundary_iou": _mean(sums[..., _BOUNDARY]),
        **pooled_ious(pooled),
        "target_iou_roi": _mean(sums[..., _ROI]),
        "contested_iou_non_target": class_ious(contested)[..., MaskClass.NON_TARGET],
        "separation_accuracy": ratio(owned, people),
        "swap_rate": ratio(swapped, people),
    }


def _mean(pair: Numbers) -> Numbers:
    return ratio(pair[..., 0], pair[..., 1])


def _term(value: float) -> tuple[float, float]:
    return (value, 1.0) if value == value else (0.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval.

    Attributes:
        value: the number on the whole set; NaN where no person counts.
        low: lower end of the interval that holds ``LEVEL`` of the resampled values; NaN where
            fewer than ``LEAST_PHOTOS`` photos have a value.
        high: upper end, or NaN.
    """

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether enough photos have a value for an interval."""
        return self.low == self.low

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0: the difference is more than noise."""
        return self.low > 0 or self.high < 0


def draw_photos(count: int, rounds: int = ROUNDS) -> Numbers:
    """How often each of ``count`` photos is drawn in each round, float64 [rounds, count]."""
    if not count:
        return np.zeros((rounds, 0))
    rng = np.random.default_rng(0)
    return rng.multinomial(count, np.full(count, 1 / count), size=rounds).astype(np.float64)


def interval(values: Numbers, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values [rounds]; NaN where no round has a value."""
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(
    scores: Sequence[PersonScore], min_side: float, rounds: int = ROUNDS
) -> dict[str, Estimate]:
    """The headline numbers of some people, each with its interval."""
    sums = _stacked(photo_sums(scores, min_side), sorted({s.photo_id for s in scores}))
    whole, each = numbers_of(sums.sum(axis=0)), numbers_of(sums)
    drawn = numbers_of(draw_photos(len(sums), rounds) @ sums)
    return {name: _estimate(whole[name], drawn[name], each[name]) for name in whole}


def paired_difference(
    first: Sequence[PersonScore],
    second: Sequence[PersonScore],
    min_side: float,
    rounds: int = ROUNDS,
) -> dict[str, Estimate]:
    """The headline numbers of ``second`` minus those of ``first``, on photos drawn together.

    Raises:
        ValueError: if the two were not measured on the same people.
    """
    if {_person(s) for s in first} != {_person(s) for s in second}:
        raise ValueError("a paired difference needs both models scored on the same people")
    photos = sorted({score.photo_id for score in first})
    weights = draw_photos(len(photos), rounds)
    before = _stacked(photo_sums(first, min_side), photos)
    after = _stacked(photo_sums(second, min_side), photos)
    whole = _gains(before.sum(axis=0), after.sum(axis=0))
    drawn, each = _gains(weights @ before, weights @ after), _gains(before, after)
    return {name: _estimate(whole[name], drawn[name], each[name]) for name in whole}


def _gains(before: Numbers, after: Numbers) -> dict[str, Numbers]:
    old, new = numbers_of(before), numbers_of(after)
    return {name: new[name] - old[name] for name in old}


def _estimate(whole: Numbers, drawn: Numbers, each: Numbers) -> Estimate:
    """A value, its resampled values [rounds] and its value on each photo [photos] alone."""
    is_enough = np.isfinite(each).sum() >= LEAST_PHOTOS
    low, high = interval(drawn) if is_enough else (float("nan"), float("nan"))
    return Estimate(float(whole), low, high)


def _person(score: PersonScore) -> tuple[int, int]:
    return score.photo_id, score.person_id


def _stacked(sums: dict[int, Numbers], photos: list[int]) -> Numbers:
    rows = [sums[photo] for photo in photos]
    return np.stack(rows) if rows else np.zeros((0, SUM_COUNT))


SMALL_AREA, LARGE_AREA = 32.0**2, 96.0**2
"""COCO's limits between small, medium and large, square source pixels."""

OVERLAP_LIMITS = (0.1, 0.3, 0.5)
SIZE_NAMES = ("small", "medium", "large")
OVERLAP_NAMES = ("< 0.1", "0.1 – 0.3", "0.3 – 0.5", "> 0.5")
EDGE_NAMES = ("inside", "at the edge")


@dataclass(frozen=True)
class Group:
    """The people of one group.

    Attributes:
        aspect: what the people were grouped by.
        name: which group of that aspect.
        count: people in the group that count in ``target_iou_image``.
        numbers: headline numbers with intervals.
    """

    aspect: str
    name: str
    count: int
    numbers: dict[str, Estimate]


def size_name(score: PersonScore) -> str:
    """COCO's size class of a person, by annotated area."""
    return SIZE_NAMES[(score.area >= SMALL_AREA) + (score.area >= LARGE_AREA)]


def overlap_name(score: PersonScore) -> str:
    """The range of a person's largest box IoU with another person."""
    return OVERLAP_NAMES[sum(score.overlap >= limit for limit in OVERLAP_LIMITS)]


def edge_name(score: PersonScore) -> str:
    """Whether the box reaches the image's edge."""
    return EDGE_NAMES[score.is_truncated]


ASPECTS: tuple[tuple[str, tuple[str, ...], Callable[[PersonScore], str]], ...] = (
    ("size", SIZE_NAMES, size_name),
    ("overlap", OVERLAP_NAMES, overlap_name),
    ("image edge", EDGE_NAMES, edge_name),
)


def break_down(scores: Sequence[PersonScore], min_side: float, rounds: int = ROUNDS) -> list[Group]:
    """The groups of each aspect in order, the empty ones too."""
    groups = []
    for aspect, names, name_of in ASPECTS:
        for name in names:
            part = [score for score in scores if name_of(score) == name]
            count = sum(score.min_side >= min_side for score in part)
            groups.append(Group(aspect, name, count, estimate(part, min_side, rounds)))
    return groups

"""How sure a number is: photos drawn again and again, with replacement.

Photos are drawn, not people: people of one photo share its light and its crowd.

Which people are hard: the numbers by size, by overlap, by truncation at the image's edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.headline import SUM_COUNT, numbers_of, photo_sums

ROUNDS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval.

    Attributes:
        value: the number on the whole set.
        low: lower end of the interval that holds ``LEVEL`` of the resampled values.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out: of a difference, that it is more than noise."""
        return self.low > 0 or self.high < 0


def draw_photos(count: int, rounds: int = ROUNDS, seed: int = 0) -> NDArray[np.float64]:
    """How often each of ``count`` photos is drawn in each round, float64 [rounds, count]."""
    if not count:
        return np.zeros((rounds, 0))
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=rounds).astype(np.float64)


def interval(values: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values [rounds]; NaN where no round has a value."""
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(
    scores: Sequence[PersonScore], min_side: float, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, Estimate]:
    """The headline numbers of some people, each with its interval."""
    sums = _stacked(photo_sums(scores, min_side), sorted({s.photo_id for s in scores}))
    whole = numbers_of(sums.sum(axis=0))
    resampled = numbers_of(draw_photos(len(sums), rounds, seed) @ sums)
    return {name: Estimate(float(whole[name]), *interval(resampled[name])) for name in whole}


def paired_difference(
    first: Sequence[PersonScore],
    second: Sequence[PersonScore],
    min_side: float,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """How much ``second`` is above ``first``, both on the same photos drawn together.

    Raises:
        ValueError: if the two were not measured on the same people.
    """
    if {_person(s) for s in first} != {_person(s) for s in second}:
        raise ValueError("a paired difference needs both models scored on the same people")
    photos = sorted({score.photo_id for score in first})
    weights = draw_photos(len(photos), rounds, seed)
    before = _stacked(photo_sums(first, min_side), photos)
    after = _stacked(photo_sums(second, min_side), photos)
    old, new = numbers_of(before.sum(axis=0)), numbers_of(after.sum(axis=0))
    old_drawn, new_drawn = numbers_of(weights @ before), numbers_of(weights @ after)
    return {
        name: Estimate(float(new[name] - old[name]), *interval(new_drawn[name] - old_drawn[name]))
        for name in old
    }


def _person(score: PersonScore) -> tuple[int, int]:
    return score.photo_id, score.person_id


def _stacked(sums: dict[int, NDArray[np.float64]], photos: list[int]) -> NDArray[np.float64]:
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
    """The people of one kind.

    Attributes:
        aspect: what the people were grouped by.
        name: which part of it.
        count: people in the group who count in ``target_iou_image``.
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
    """How far the nearest other person's box covers this one's."""
    return OVERLAP_NAMES[sum(score.overlap >= limit for limit in OVERLAP_LIMITS)]


def edge_name(score: PersonScore) -> str:
    """Whether the image's edge may cut the person off."""
    return EDGE_NAMES[score.is_truncated]


ASPECTS: tuple[tuple[str, tuple[str, ...], Callable[[PersonScore], str]], ...] = (
    ("size", SIZE_NAMES, size_name),
    ("overlap", OVERLAP_NAMES, overlap_name),
    ("image edge", EDGE_NAMES, edge_name),
)


def break_down(scores: Sequence[PersonScore], min_side: float, rounds: int = ROUNDS) -> list[Group]:
    """The groups of each aspect in order, also the empty ones."""
    groups = []
    for aspect, names, name_of in ASPECTS:
        for name in names:
            part = [score for score in scores if name_of(score) == name]
            count = sum(score.min_side >= min_side for score in part)
            groups.append(Group(aspect, name, count, estimate(part, min_side, rounds)))
    return groups

"""Which people are hard: the numbers by size, by overlap, by truncation at the image's edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from human_edge_detection.evaluation.bootstrap import ROUNDS, Estimate, estimate
from human_edge_detection.evaluation.person_scores import PersonScore

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

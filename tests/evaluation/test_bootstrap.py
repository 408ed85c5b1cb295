"""Headline numbers, their intervals, and the groups of people."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.bootstrap import (
    HEADLINES,
    break_down,
    draw_photos,
    estimate,
    interval,
    numbers_of,
    overlap_name,
    paired_difference,
    photo_sums,
    size_name,
)
from human_edge_detection.evaluation.evaluate import Evaluation, PersonScore
from people_set import made_up_score, matrix


def scores(values: np.ndarray) -> list[PersonScore]:
    return [made_up_score(n, n, float(value)) for n, value in enumerate(values)]


def headline(people: list[PersonScore], min_side: float) -> dict[str, float]:
    return {name: found.value for name, found in estimate(people, min_side, rounds=1).items()}


def test_every_round_draws_as_many_photos_as_there_are() -> None:
    weights = draw_photos(7, rounds=20)
    assert weights.shape == (20, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert draw_photos(0, rounds=3).shape == (3, 0)


def test_interval_holds_the_middle() -> None:
    assert interval(np.arange(101.0), level=0.9) == pytest.approx((5.0, 95.0))
    assert np.isnan(interval(np.full(3, np.nan))).all()


def test_equal_photos_leave_no_doubt() -> None:
    found = estimate(scores(np.full(10, 0.75)), 12.0, rounds=50)["target_iou_image"]
    assert (found.low, found.value, found.high) == pytest.approx((0.75, 0.75, 0.75))


@pytest.mark.parametrize(("photos", "has_interval"), [(1, False), (2, False), (3, True)])
def test_too_few_photos_have_no_interval(photos: int, has_interval: bool) -> None:
    values = np.linspace(0.5, 0.9, photos)
    people = scores(values)
    found = estimate(people, 12.0, rounds=200)["target_iou_image"]
    assert found.has_interval is has_interval
    assert found.value == pytest.approx(values.mean())
    gain = paired_difference(people, scores(values + 0.01), 12.0, rounds=200)["target_iou_image"]
    assert (gain.has_interval, gain.is_clear) == (has_interval, has_interval)


def test_photos_without_a_value_do_not_count_for_the_interval() -> None:
    alone = [made_up_score(n, n, 0.5, confusion=matrix(9, 9, 0)) for n in range(8)]
    crowd = [made_up_score(n, n, 0.5, confusion=matrix(9, 9, 9)) for n in (8, 9)]
    found = estimate(alone + crowd, 12.0, rounds=50)
    assert found["target_iou_image"].has_interval
    assert found["separation_accuracy"].value == 1.0
    assert not found["separation_accuracy"].has_interval


def test_width_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 200)
    found = estimate(scores(values), 12.0)["target_iou_image"]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_a_small_steady_gain_is_clear_when_paired() -> None:
    base = np.random.default_rng(0).uniform(0.2, 0.9, 60)
    gain = paired_difference(scores(base), scores(base + 0.01), 12.0)["target_iou_image"]
    assert gain.value == pytest.approx(0.01)
    assert gain.is_clear
    noise = np.random.default_rng(1).normal(0, 0.1, 60)
    assert not paired_difference(scores(base), scores(base + noise - noise.mean()), 12.0)[
        "target_iou_image"
    ].is_clear


def test_different_people_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same people"):
        paired_difference(scores(np.ones(2)), scores(np.ones(3)), 12.0)


def test_nobody_gives_nan() -> None:
    assert np.isnan(estimate([], 12.0, rounds=5)["miou"].value)


SCORES = [
    made_up_score(1, 1, 0.5, confusion=matrix(10, 6, 0, swapped=2)),
    made_up_score(1, 2, 0.9, confusion=matrix(10, 8, 4)),
    made_up_score(2, 3, 0.1, side=8.0),
]


def test_the_headline_agrees_with_the_evaluation() -> None:
    numbers = headline(SCORES, min_side=12.0)
    for name, value in Evaluation(tuple(SCORES)).summary().items():
        assert numbers[name] == pytest.approx(value), name


def test_headlines_written_out() -> None:
    numbers = headline(SCORES, min_side=12.0)
    assert numbers["target_iou_image"] == pytest.approx(0.7)
    assert numbers["boundary_iou"] == pytest.approx(0.35)
    assert numbers["iou_target"] == pytest.approx(24 / 26)
    assert numbers["iou_non_target"] == pytest.approx(4 / 6)
    assert numbers["contested_iou_non_target"] == 1.0
    assert numbers["separation_accuracy"] == 1.0
    assert numbers["swap_rate"] == 0.0
    assert set(numbers) == set(HEADLINES)


def test_nobody_has_no_headline() -> None:
    assert all(np.isnan(value) for value in headline([], 12.0).values())


def test_many_sums_at_once_equal_one_by_one() -> None:
    sums = np.stack(list(photo_sums(SCORES, 12.0).values()))
    together = numbers_of(sums)
    for row in range(len(sums)):
        for name, value in numbers_of(sums[row]).items():
            np.testing.assert_equal(together[name][row], value)


@pytest.mark.parametrize(
    ("side", "name"), [(31.9, "small"), (32, "medium"), (95.9, "medium"), (96, "large")]
)
def test_size_limits_are_cocos(side: float, name: str) -> None:
    assert size_name(made_up_score(1, 1, 0.5, side=side)) == name


@pytest.mark.parametrize(
    ("overlap", "name"), [(0.0, "< 0.1"), (0.1, "0.1 – 0.3"), (0.3, "0.3 – 0.5"), (0.7, "> 0.5")]
)
def test_overlap_limits(overlap: float, name: str) -> None:
    assert overlap_name(made_up_score(1, 1, 0.5, overlap=overlap)) == name


def test_groups_share_everybody_out() -> None:
    scores = [
        made_up_score(1, 1, 0.5, side=20),
        made_up_score(1, 2, 0.7, overlap=0.4, is_truncated=True),
        made_up_score(2, 3, 0.9, overlap=0.6),
    ]
    groups = break_down(scores, 12.0, rounds=20)
    counts = {(group.aspect, group.name): group.count for group in groups}
    assert counts["size", "small"] == 1
    assert counts["size", "large"] == 0
    assert counts["overlap", "0.3 – 0.5"] == counts["image edge", "at the edge"] == 1
    for aspect in ("size", "overlap", "image edge"):
        assert sum(group.count for group in groups if group.aspect == aspect) == 3
    by_name = {(group.aspect, group.name): group.numbers["target_iou_image"] for group in groups}
    assert by_name["size", "medium"].value == pytest.approx(0.8)
    assert np.isnan(by_name["size", "large"].value)

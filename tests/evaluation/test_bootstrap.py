"""Intervals: exact where they must be, wide where little is known, paired where it matters."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.bootstrap import (
    draw_photos,
    estimate,
    interval,
    paired_difference,
)
from human_edge_detection.evaluation.evaluate import PersonScore
from people_set import made_up_score


def scores(values: np.ndarray) -> list[PersonScore]:
    return [made_up_score(n, n, float(value)) for n, value in enumerate(values)]


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

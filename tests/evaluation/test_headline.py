"""Headline numbers from sums, against the plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.evaluate import Evaluation
from human_edge_detection.evaluation.headline import HEADLINES, headline, numbers_of, photo_sums
from people_set import made_up_score, matrix

SCORES = [
    made_up_score(1, 1, 0.5, confusion=matrix(10, 6, 0, swapped=2)),
    made_up_score(1, 2, 0.9, confusion=matrix(10, 8, 4)),
    made_up_score(2, 3, 0.1, side=8.0),
]


def test_it_agrees_with_the_evaluation() -> None:
    numbers = headline(SCORES, min_side=12.0)
    for name, value in Evaluation(tuple(SCORES)).summary().items():
        assert numbers[name] == pytest.approx(value), name


def test_written_out() -> None:
    numbers = headline(SCORES, min_side=12.0)
    assert numbers["target_iou_image"] == pytest.approx(0.7)
    assert numbers["boundary_iou"] == pytest.approx(0.35)
    assert numbers["iou_target"] == pytest.approx(24 / 26)
    assert numbers["iou_non_target"] == pytest.approx(4 / 6)
    assert numbers["contested_iou_non_target"] == 1.0
    assert numbers["separation_accuracy"] == 1.0
    assert numbers["swap_rate"] == 0.0
    assert set(numbers) == set(HEADLINES)


def test_nobody_gives_nan() -> None:
    assert all(np.isnan(value) for value in headline([], 12.0).values())


def test_many_sums_at_once_equal_one_by_one() -> None:
    sums = np.stack(list(photo_sums(SCORES, 12.0).values()))
    together = numbers_of(sums)
    for row in range(len(sums)):
        for name, value in numbers_of(sums[row]).items():
            np.testing.assert_equal(together[name][row], value)

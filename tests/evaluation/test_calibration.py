"""Calibration of scores: written-out tables of predictions that are right or wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.calibration import calibration, judged
from human_edge_detection.evaluation.predictions import Prediction
from human_edge_detection.evaluation.tables import calibration_text
from people_set import write_people_set


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return load_photos(write_people_set(tmp_path), tmp_path)[0]


def true_mask(photo: Photo, person: int, score: float, rows: int = 0) -> Prediction:
    """A person's true mask, without its first ``rows`` rows of pixels."""
    mask = decode_mask(photo.people[person], photo.size_hw)
    mask[: np.flatnonzero(mask.any(axis=1))[0] + rows] = False
    return Prediction(encode_mask(mask), photo.people[person].box_xyxy, score)


def test_each_person_makes_one_prediction_right_the_surest(photos: list[Photo]) -> None:
    first, second, third = photos
    predictions = {
        first.id: [
            true_mask(first, 0, 0.42, rows=10),
            true_mask(first, 0, 0.48),  # takes the person
            true_mask(first, 1, 0.95),
        ],
        second.id: [true_mask(second, 0, 0.91, rows=40)],  # IoU 16/56
        third.id: [],
    }
    right, counts = judged(photos, predictions)
    assert right.tolist() == [False, True, True, False] and counts.all()
    result = calibration(photos, predictions)
    assert result is not None
    table = {item.low: (item.count, item.score, item.right) for item in result.ranges if item.count}
    assert table == {0.4: (2, pytest.approx(0.45), 0.5), 0.9: (2, pytest.approx(0.93), 0.5)}
    assert result.error == pytest.approx((2 * 0.05 + 2 * 0.43) / 4)
    assert "from 0.4                2       0.450  0.500" in calibration_text("model", result)


def test_crowds_count_neither_way_and_an_id_of_zero_is_a_person(tmp_path: Path) -> None:
    path = write_people_set(tmp_path)
    text = (
        path.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1).replace('"id": 101', '"id": 0')
    )
    path.write_text(text)
    photos = load_photos(path, tmp_path)[0]
    first = photos[0]
    predictions = {first.id: [true_mask(first, 0, 0.3), true_mask(first, 1, 0.8)]}
    right, counts = judged(photos, predictions)
    assert (counts.tolist(), right[counts].tolist()) == ([False, True], [True])


def test_without_scores_there_is_no_table(photos: list[Photo]) -> None:
    first = photos[0]
    assert calibration(photos, {}) is None
    assert calibration(photos, {first.id: [true_mask(first, 0, 1.0)]}) is None

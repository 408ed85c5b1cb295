"""Predictions of any tool, scored: the truth scores one, each prediction serves one person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.predictions import (
    Prediction,
    evaluate_predictions,
    match_people,
)
from people_set import write_people_set


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return load_photos(write_people_set(tmp_path), tmp_path)[0]


def predicted(photo: Photo, index: int, person_id: int | None = None) -> Prediction:
    person = photo.people[index]
    rle = encode_mask(decode_mask(person, photo.size_hw))
    return Prediction(rle, person.box_xyxy, person_id=person_id)


def test_the_truth_scores_one(photos: list[Photo]) -> None:
    everybody = {p.id: [predicted(p, i) for i in range(len(p.people))] for p in photos}
    numbers = evaluate_predictions(photos, everybody).summary()
    for name in ("target_iou_image", "target_iou_roi", "miou", "iou_non_target"):
        assert numbers[name] == pytest.approx(1.0), name


def test_who_is_missed_scores_zero(photos: list[Photo]) -> None:
    evaluation = evaluate_predictions(photos, {1: [predicted(photos[0], 0)]})
    assert [score.iou for score in evaluation.scores] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_prediction_serves_one_person(photos: list[Photo]) -> None:
    photo = photos[0]
    truths = [decode_mask(person, photo.size_hw) for person in photo.people]
    both = Prediction(encode_mask(truths[0] | truths[1]), photo.people[0].box_xyxy)
    assert match_people(photo.people, truths, [both]).count(None) == 1
    better = [both, predicted(photo, 1)]
    assert match_people(photo.people, truths, better) == [0, 1]


def test_a_prompt_decides_who_is_meant(photos: list[Photo]) -> None:
    photo = photos[0]
    truths = [decode_mask(person, photo.size_hw) for person in photo.people]
    ids = [person.id for person in photo.people]
    crossed = [predicted(photo, 0, person_id=ids[1]), predicted(photo, 1, person_id=ids[0])]
    assert match_people(photo.people, truths, crossed) == [1, 0]
    evaluation = evaluate_predictions([photo], {photo.id: crossed})
    assert max(score.iou for score in evaluation.scores) < 0.1
    assert evaluation.matrix[1, 2] > 0


def test_no_overlap_is_no_match(photos: list[Photo]) -> None:
    photo = photos[1]
    corner = np.zeros(photo.size_hw, bool)
    corner[90:, :5] = True
    stray = Prediction(encode_mask(corner), np.array([0, 90, 5, 96], np.float32))
    truth = decode_mask(photo.people[0], photo.size_hw)
    assert match_people(photo.people, [truth], [stray]) == [None]

"""Evaluation, on a data set of two drawn squares whose scores are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from human_edge_detection.core.geometry import crop_mask
from human_edge_detection.core.structures import FloatArray, RoiSample
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.evaluation.evaluate import evaluate, image_mask
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.masks.probabilities import softmax

SIZE = (64, 64)
BOXES = {1: (0.0, 4.0, 32.0, 36.0), 2: (16.0, 4.0, 48.0, 36.0), 3: (50.0, 50.0, 58.0, 62.0)}


def person(number: int) -> Person:
    x1, y1, x2, y2 = BOXES[number]
    box = np.array(BOXES[number], np.float32)
    polygon = [[x1, y1, x2, y1, x2, y2, x1, y2]]
    return Person(number, box, polygon, False, float((x2 - x1) * (y2 - y1)))


class Squares:
    """One photo of three rectangles, the second half hidden behind the first."""

    def __init__(self) -> None:
        people = tuple(person(number) for number in BOXES)
        self.photos = [Photo(7, "a.png", SIZE, people, Path("."))]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> RoiSample:
        if index == 1:
            return self._sample([])
        return self._sample(list(BOXES))

    def _sample(self, ids: list[int]) -> RoiSample:
        rois = np.array([BOXES[i] for i in ids], np.float32).reshape(-1, 4)
        targets = [self._target(i) for i in ids]
        stacked = np.stack(targets) if targets else np.zeros((0, 8, 8), np.uint8)
        image = np.zeros((64, 64, 3), np.uint8)
        return RoiSample(image, rois, stacked, np.array(ids, np.int64), 0)

    def _target(self, number: int) -> NDArray[np.uint8]:
        mask = np.zeros(SIZE, bool)
        x1, y1, x2, y2 = (int(value) for value in BOXES[number])
        mask[y1:y2, x1:x2] = True
        return (crop_mask(mask, np.array(BOXES[number]), 8) >= 0.5).astype(np.uint8)

    def rois_source(self, sample: RoiSample) -> FloatArray:
        return sample.rois


def perfect(batch: Sequence[RoiSample]) -> FloatArray:
    targets = np.concatenate([sample.targets for sample in batch])
    return np.asarray(np.eye(3)[targets].transpose(0, 3, 1, 2) * 20, np.float32)


def left_half(batch: Sequence[RoiSample]) -> FloatArray:
    logits = perfect(batch)
    logits[..., 4:] = np.array([20, 0, 0], np.float32)[:, None, None]
    return logits


def test_a_perfect_model_scores_one() -> None:
    evaluation = evaluate(Squares(), perfect)
    numbers = evaluation.summary()
    assert len(evaluation.scores) == 3
    assert numbers["target_iou_image"] == pytest.approx(1.0)
    assert numbers["target_iou_roi"] == numbers["iou_target"] == evaluation.miou == 1.0


def test_half_a_mask_scores_half_at_both_resolutions() -> None:
    numbers = evaluate(Squares(), left_half).summary()
    assert numbers["target_iou_roi"] == pytest.approx(0.5)
    assert numbers["target_iou_image"] == pytest.approx(0.5, abs=0.02)


def test_small_people_count_in_the_rois_only() -> None:
    evaluation = evaluate(Squares(), perfect)
    assert [score.person_id for score in evaluation.counted] == [1, 2]
    assert len(evaluate(Squares(), perfect, min_side=8.0).counted) == 3


def test_records_know_what_makes_a_person_hard() -> None:
    first, second, third = evaluate(Squares(), perfect).scores
    assert first.photo_id == 7
    assert first.overlap == second.overlap == pytest.approx(1 / 3)
    assert third.overlap == 0.0
    assert first.is_truncated
    assert not second.is_truncated
    assert not first.has_non_target


def test_losses_are_averaged_over_rois() -> None:
    def loss(logits: FloatArray, targets: NDArray[np.uint8]) -> Mapping[str, float]:
        return {"loss": float(len(logits))}

    assert evaluate(Squares(), perfect, loss=loss).summary()["loss"] == 3.0
    assert "loss" not in evaluate(Squares(), perfect).summary()


def test_batches_of_a_loader_are_taken() -> None:
    data = Squares()
    assert len(evaluate(data, perfect, batches=[[data[1]], [data[0], data[1]]]).scores) == 3


def test_a_model_that_loses_a_roi_is_found_out() -> None:
    with pytest.raises(ValueError, match="must return 3 masks"):
        evaluate(Squares(), lambda batch: perfect(batch)[:2])


def test_a_scored_mask_is_the_predicted_one() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32) * 3
    rois = np.array([[2.3, 4.1, 30.7, 60.2], [33.5, 1.2, 37.1, 9.9]], np.float32)
    people = InstanceMasks(softmax(logits), rois, rois, SIZE)
    for probs, roi, mask in zip(people.probs, rois, people.binary(), strict=True):
        np.testing.assert_array_equal(image_mask(probs[1], roi, SIZE), mask)
        assert mask.any()

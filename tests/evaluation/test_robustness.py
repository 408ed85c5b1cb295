"""The grid's ceiling and shifted boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.evaluate import evaluate
from human_edge_detection.evaluation.robustness import JitteredPhotos, ceiling
from people_set import write_people_set

SPEC = ModelSpec("lite", (), (), (), image_size=(96, 96))


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return load_photos(write_people_set(tmp_path), tmp_path)[0]


def test_the_ceiling_rises_with_the_grid_and_with_soft_bins(photos: list[Photo]) -> None:
    means = [
        ceiling(photos, 12.0, mask_size=size, is_soft=soft).summary()["target_iou_image"]
        for size, soft in ((7, False), (56, False), (56, True))
    ]
    assert means[0] < means[1] <= means[2] + 0.01
    assert means[1] > 0.95


def test_no_shift_is_the_plain_set(photos: list[Photo]) -> None:
    plain, shifted = PhotoDataset(photos, SPEC), JitteredPhotos(photos, SPEC, 0.0)
    for index in range(len(photos)):
        np.testing.assert_allclose(shifted[index].rois, plain[index].rois, atol=1e-4)
        np.testing.assert_array_equal(shifted[index].targets, plain[index].targets)


def test_shifts_stay_in_their_limits_and_repeat(photos: list[Photo]) -> None:
    plain, shifted = PhotoDataset(photos, SPEC), JitteredPhotos(photos, SPEC, 0.1)
    for index in range(len(photos)):
        sample = shifted[index]
        moved = shifted.rois_source(sample) - plain.rois_source(plain[index])
        assert 0 < np.abs(moved).max() < 0.15 * 96
        np.testing.assert_array_equal(sample.rois, shifted[index].rois)
        np.testing.assert_allclose(sample.rois, shifted.rois_source(sample), atol=1e-4)


def test_shifted_targets_are_cut_by_the_shifted_boxes(photos: list[Photo]) -> None:
    dataset = JitteredPhotos(photos, SPEC, 0.2)

    def truth(batch: list) -> np.ndarray:  # type: ignore[type-arg]
        targets = np.concatenate([sample.targets for sample in batch])
        return np.asarray(np.eye(3)[targets].transpose(0, 3, 1, 2) * 20, np.float32)

    assert evaluate(dataset, truth).summary()["target_iou_roi"] == 1.0
    assert evaluate(dataset, truth).summary()["target_iou_image"] > 0.6

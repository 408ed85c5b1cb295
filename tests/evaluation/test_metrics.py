"""The numbers, on arrays whose answer is written out."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.metrics import (
    MaskConfusion,
    boundary_iou,
    boundary_width,
    confusion_matrix,
    image_iou,
    inner_boundary,
    separation_accuracy,
    swap_rate,
    target_iou_roi,
)

TARGET = np.array([[[0, 1, 1], [1, 2, 2], [255, 254, 0]]], np.uint8)
PREDICTED = np.array([[[0, 1, 0], [1, 1, 2], [1, 1, 2]]], np.uint8)


def test_confusion_counts_known_pixels_only() -> None:
    expected = [[1, 0, 1], [1, 2, 0], [0, 1, 1]]
    assert confusion_matrix(PREDICTED, TARGET).tolist() == expected


def test_miou_is_the_mean_of_target_and_non_target() -> None:
    pooled = MaskConfusion()
    pooled.update(PREDICTED, TARGET)
    numbers = pooled.compute()
    assert numbers["iou_background"] == pytest.approx(1 / 3)
    assert numbers["iou_target"] == pytest.approx(2 / 4)
    assert numbers["iou_non_target"] == pytest.approx(1 / 3)
    assert numbers["miou"] == pytest.approx((2 / 4 + 1 / 3) / 2)


def test_confusion_is_pooled_not_averaged() -> None:
    pooled = MaskConfusion()
    pooled.update(np.ones((1, 2, 2), np.uint8), np.ones((1, 2, 2), np.uint8))
    pooled.update(np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8))
    assert pooled.compute()["iou_target"] == pytest.approx(4 / 20)
    pooled.reset()
    assert pooled.matrix.sum() == 0


def test_a_class_that_never_occurs_is_left_out_of_miou() -> None:
    pooled = MaskConfusion()
    pooled.update(np.ones((1, 2, 2), np.uint8), np.ones((1, 2, 2), np.uint8))
    numbers = pooled.compute()
    assert np.isnan(numbers["iou_non_target"])
    assert numbers["miou"] == 1.0


def test_no_rois_give_nan_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    pooled = MaskConfusion()
    pooled.update(np.zeros((0, 56, 56), np.uint8), np.zeros((0, 56, 56), np.uint8))
    assert np.isnan(pooled.compute()["miou"])
    assert not recwarn.list


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="predicted has shape"):
        confusion_matrix(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_target_iou_roi_leaves_unknown_pixels_out() -> None:
    assert target_iou_roi(PREDICTED[0], TARGET[0]) == pytest.approx(2 / 4)
    assert np.isnan(target_iou_roi(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)))


def test_separation_counts_owners_among_person_pixels() -> None:
    matrix = confusion_matrix(PREDICTED, TARGET)
    assert separation_accuracy(matrix) == pytest.approx(3 / 5)
    assert swap_rate(matrix) == pytest.approx(1 / 5)


def test_image_iou() -> None:
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert np.isnan(image_iou(first, second))
    first[:2], second[1:3] = True, True
    assert image_iou(first, second) == pytest.approx(4 / 12)


def test_inner_boundary_of_a_square_is_its_rim_also_at_the_image_edge() -> None:
    square = np.zeros((7, 7), bool)
    square[0:5, 1:6] = True
    rim = inner_boundary(square, 1)
    assert rim.sum() == 16
    assert not rim[1:4, 2:5].any()


def test_boundary_iou_forgives_the_inside_and_not_the_edge() -> None:
    truth = np.zeros((200, 200), bool)
    truth[50:150, 50:150] = True
    hollow, shifted = truth.copy(), truth.copy()
    hollow[90:110, 90:110] = False  # a far hole adds a rim, which the boundary sees
    shifted = np.roll(truth, 6, axis=1)
    assert boundary_width((200, 200)) == 6
    assert boundary_iou(truth, truth) == 1.0
    assert boundary_iou(shifted, truth) < image_iou(shifted, truth)
    assert boundary_iou(hollow, truth) < 1.0


def test_boundary_iou_in_the_window_equals_the_whole_image() -> None:
    rng = np.random.default_rng(0)
    first, second = np.zeros((80, 120), bool), np.zeros((80, 120), bool)
    first[0:40, 30:90] = rng.random((40, 60)) > 0.05
    second[5:50, 20:120] = rng.random((45, 100)) > 0.05
    width = boundary_width((80, 120))
    whole = image_iou(inner_boundary(first, width), inner_boundary(second, width))
    assert boundary_iou(first, second) == pytest.approx(whole)

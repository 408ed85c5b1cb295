"""The numbers, on arrays whose answer is written out."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.metrics import (
    boundary_iou,
    boundary_width,
    class_ious,
    confusion_matrix,
    image_iou,
    inner_boundary,
    pooled_ious,
)

TARGET = np.array([[[0, 1, 1], [1, 2, 2], [255, 254, 0]]], np.uint8)
PREDICTED = np.array([[[0, 1, 0], [1, 1, 2], [1, 1, 2]]], np.uint8)


def test_confusion_counts_known_pixels_only() -> None:
    expected = [[1, 0, 1], [1, 2, 0], [0, 1, 1]]
    assert confusion_matrix(PREDICTED, TARGET).tolist() == expected


def test_miou_is_the_mean_of_target_and_non_target() -> None:
    numbers = pooled_ious(confusion_matrix(PREDICTED, TARGET))
    assert numbers["iou_background"] == pytest.approx(1 / 3)
    assert numbers["iou_target"] == pytest.approx(2 / 4)
    assert numbers["iou_non_target"] == pytest.approx(1 / 3)
    assert numbers["miou"] == pytest.approx((2 / 4 + 1 / 3) / 2)


def test_confusion_is_pooled_not_averaged() -> None:
    right, wrong = np.ones((1, 2, 2), np.uint8), np.zeros((1, 4, 4), np.uint8)
    matrix = confusion_matrix(right, right) + confusion_matrix(wrong, wrong + 1)
    assert pooled_ious(matrix)["iou_target"] == pytest.approx(4 / 20)


def test_a_class_that_never_occurs_is_left_out_of_miou() -> None:
    right = np.ones((1, 2, 2), np.uint8)
    numbers = pooled_ious(confusion_matrix(right, right))
    assert np.isnan(numbers["iou_non_target"])
    assert numbers["miou"] == 1.0


def test_no_rois_give_nan_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    nothing = np.zeros((0, 56, 56), np.uint8)
    assert np.isnan(pooled_ious(confusion_matrix(nothing, nothing))["miou"])
    assert not recwarn.list


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="predicted has shape"):
        confusion_matrix(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_class_ious_of_many_matrices_at_once() -> None:
    matrix = confusion_matrix(PREDICTED, TARGET)
    both = class_ious(np.stack([matrix, 0 * matrix]))
    assert both[0] == pytest.approx([1 / 3, 2 / 4, 1 / 3])
    assert np.isnan(both[1]).all()


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

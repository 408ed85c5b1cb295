import numpy as np
import pytest

from human_edge_detection.core.boxes import box_areas, box_iou, expand_boxes, nms, padded_rois


def test_padded_rois_grow_and_are_clipped():
    boxes = np.array([[10, 20, 30, 60], [0, 0, 10, 10], [500, 500, 510, 510]], np.float32)
    got = padded_rois(boxes, 0.1, (100, 100))
    np.testing.assert_allclose(got, [[8, 16, 32, 64], [0, 0, 11, 11], [100, 100, 100, 100]])
    assert padded_rois(np.zeros((0, 4)), 0.1, (9, 9)).shape == (0, 4)


def test_box_iou_and_areas():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 9], [3, 3, 0, 0]], np.float32)
    np.testing.assert_allclose(box_areas(boxes), [4, 4, 0, 0])
    np.testing.assert_allclose(box_iou(boxes[:1], boxes)[0], [1, 1 / 7, 0, 0], atol=1e-6)
    assert box_iou(boxes[:0], boxes).shape == (0, 4)


@pytest.mark.filterwarnings("error")
def test_areas_of_lists_and_of_boxes_past_float32():
    assert box_areas([[0, 0, 2, 3], [0, 0, 1e38, 1e38]]).tolist() == [6, np.inf]


def test_boxes_that_are_not_boxes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        expand_boxes(np.zeros((2, 5)), 0.1)
    with pytest.raises(ValueError, match="finite"):
        expand_boxes(np.array([[0, 0, np.nan, 1]]), 0.1)


def test_suppression_keeps_the_best_of_a_cluster():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 5, 10, 15]], np.float32)
    assert nms(boxes, 0.65) == [0, 2, 3]
    assert nms(boxes[:0], 0.65) == []

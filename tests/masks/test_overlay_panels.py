import numpy as np
import pytest

from human_edge_detection.core.structures import IGNORE_INDEX
from human_edge_detection.masks import overlay
from human_edge_detection.masks.overlay import NON_TARGET_COLOR, TARGET_COLOR

GREY = np.full((40, 60, 3), 90, np.uint8)


def test_labels_are_red_blue_and_grey():
    label = np.zeros((8, 8), np.uint8)
    label[:, :4], label[:, 4:6], label[:, 6:] = 1, 2, IGNORE_INDEX
    rois = np.array([[0, 0, 32, 32]], np.float32)
    drawn = overlay.draw_labels(np.zeros((32, 32, 3), np.uint8), rois, label[None], alpha=1.0)
    np.testing.assert_array_equal(drawn[16, 5], TARGET_COLOR)
    np.testing.assert_array_equal(drawn[16, 19], NON_TARGET_COLOR)
    np.testing.assert_array_equal(drawn[16, 30], overlay.UNKNOWN_COLOR)


def test_a_panel_has_three_columns():
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[:, 2:6, 2:6] = 1
    rois = np.array([[2, 2, 20, 38], [30, 2, 55, 38]], np.float32)
    panel = overlay.panel(GREY, rois + 1, rois, labels, 2 * labels)
    gap = overlay.MARGIN
    assert panel.shape == (40 + gap + 15, 3 * 60 + 2 * gap, 3)
    truth, guess = panel[:40, 60 + gap : 120 + gap], panel[:40, 120 + 2 * gap :]
    assert truth[20, 11, 0] > truth[20, 11, 2]
    assert guess[20, 11, 2] > guess[20, 11, 0]
    nothing = overlay.panel(GREY, rois[:0], rois[:0], labels[:0], labels[:0])
    assert nothing.shape == (40, 3 * 60 + 2 * gap, 3)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 500), (500, 3)])
def test_panels_of_odd_images_can_be_drawn(size_hw):
    image = np.zeros((*size_hw, 3), np.uint8)
    rois = np.array([[0, 0, size_hw[1], size_hw[0]], [900, 900, 950, 950]], np.float32)
    labels = np.ones((2, 56, 56), np.uint8)
    overlay.panel(image, rois, rois, labels, labels)

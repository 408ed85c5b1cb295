"""Which ROIs are small, and how an exported head is fed with them."""

from __future__ import annotations

import numpy as np
import torch

from human_edge_detection.core.spec import are_small
from human_edge_detection.runtime.head import head_feeds

# widths and heights: 10x10, 11x3, 3x11, 0x0, 10x9
ROIS = np.array(
    [[0, 5, 5, 15, 15], [0, 0, 0, 11, 3], [1, 0, 0, 3, 11], [1, 7, 7, 7, 7], [0, 1, 1, 11, 10]],
    np.float32,
)


def test_neither_side_of_a_small_roi_is_longer() -> None:
    wanted = [True, False, False, True, True]
    assert are_small(ROIS, 10.0).tolist() == wanted
    assert are_small(torch.from_numpy(ROIS), 10.0).tolist() == wanted


def test_no_roi_is_small_without_a_limit() -> None:
    assert not are_small(ROIS, 0.0).any()
    feeds, order = head_feeds(ROIS, 0.0)
    assert list(feeds) == ["rois"] and feeds["rois"] is ROIS
    assert order.tolist() == [0, 1, 2, 3, 4]


def test_small_rois_come_last_and_the_order_tells_whose_they_are() -> None:
    feeds, order = head_feeds(ROIS, 10.0)
    assert order.tolist() == [1, 2, 0, 3, 4]
    np.testing.assert_array_equal(feeds["rois"], ROIS[[1, 2]])
    np.testing.assert_array_equal(feeds["small_rois"], ROIS[[0, 3, 4]])


def test_nobody_at_all() -> None:
    feeds, order = head_feeds(ROIS[:0], 10.0)
    assert [part.shape for part in feeds.values()] == [(0, 5), (0, 5)]
    assert order.shape == (0,)

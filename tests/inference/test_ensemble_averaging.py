"""The mean of masks that cover the same region, or each its own."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.inference.ensemble import RoiProbs, mean_probs

ROI = np.array([[0, 0, 4, 4]], np.float32)


def answer(target: object, roi: object = ROI) -> RoiProbs:
    """One person with these target probabilities [M, M], the rest background."""
    plane = np.asarray(target, np.float32)
    probs = np.stack([1 - plane, plane, np.zeros_like(plane)])[None]
    return RoiProbs(probs, np.asarray(roi, np.float32))


def target_of(answers: list[RoiProbs], side: int, roi: FloatArray = ROI) -> FloatArray:
    probs = mean_probs(answers, roi, side)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    return np.asarray(probs[0, 1])


def test_the_mean_of_two_written_out_arrays() -> None:
    one, other = answer([[1.0, 0.5], [0.25, 0.0]]), answer([[0.0, 1.0], [0.75, 0.0]])
    np.testing.assert_array_equal(target_of([one, other], 2), [[0.5, 0.75], [0.5, 0.0]])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_one_answer_given_several_times_is_itself(count: int) -> None:
    one = answer(np.random.default_rng(0).random((5, 5)))
    np.testing.assert_array_equal(mean_probs([one] * count, ROI, 5), one.probs)


def test_a_narrower_answer_has_no_say_beyond_its_region() -> None:
    wide, narrow = answer(np.full((4, 4), 0.8)), answer(np.full((4, 4), 0.2), [[1, 1, 3, 3]])
    wanted = np.full((4, 4), 0.8)
    wanted[1:3, 1:3] = 0.5
    np.testing.assert_allclose(target_of([wide, narrow], 4), wanted, atol=1e-6)


def test_a_bin_that_is_half_covered_counts_half() -> None:
    wide, narrow = answer(np.full((4, 4), 0.8)), answer(np.full((4, 4), 0.2), [[0.5, 0, 4, 4]])
    wanted = np.full((4, 4), 0.5)
    wanted[:, 0] = (0.8 + 0.5 * 0.2) / 1.5
    np.testing.assert_allclose(target_of([wide, narrow], 4), wanted, atol=1e-6)


def test_masks_lie_where_their_regions_do() -> None:
    wide = answer(np.zeros((4, 4)))
    columns = np.tile([1.0, 0.0], (2, 1))  # of a region two pixels wide, one bin a pixel
    found = target_of([wide, answer(columns, [[2, 0, 4, 4]])], 4)
    np.testing.assert_allclose(found[1], [0, 0, 0.5, 0], atol=1e-6)


def test_a_coarser_grid_is_interpolated() -> None:
    coarse = answer([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(target_of([coarse], 4)[0], [0, 0.25, 0.75, 1], atol=1e-6)


def test_where_nobody_has_looked_is_background() -> None:
    outside = np.array([[9, 9, 9, 9]], np.float32)
    seen, unseen = answer(np.full((2, 2), 0.6)), answer(np.full((2, 2), 0.9), outside)
    np.testing.assert_allclose(target_of([seen, unseen], 2), np.full((2, 2), 0.6))
    np.testing.assert_array_equal(target_of([unseen, unseen], 2, outside), np.zeros((2, 2)))


def test_nobody_is_nobody() -> None:
    empty = RoiProbs(np.zeros((0, 3, 2, 2), np.float32), np.zeros((0, 4), np.float32))
    assert mean_probs([empty, empty], empty.rois_xyxy, 2).shape == (0, 3, 2, 2)

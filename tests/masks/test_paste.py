import numpy as np
import pytest

from human_edge_detection.core import geometry
from human_edge_detection.core.geometry import AxisTransform
from human_edge_detection.masks.paste import (
    BufferPool,
    Shares,
    Taps,
    paste_at,
    paste_grids,
    paste_on,
    paste_window,
)


def ramp(size, slope_xy=(1.0, 0.0)):
    """Values of a plane at the centres of ``size`` by ``size`` bins, 0…1 along each axis."""
    centres = (np.arange(size) + 0.5) / size
    plane = slope_xy[0] * centres[None] + slope_xy[1] * centres[:, None]
    return plane.astype(np.float32)


@pytest.mark.parametrize(
    "roi", [(3.3, 2.6, 98.1, 77.9), (-20, -7, 130.5, 95), (10, 10, 31.3, 24.2)]
)
def test_a_pasted_ramp_spans_its_roi(roi):
    roi = np.array(roi, np.float32)
    window, (x1, y1, x2, y2) = paste_window(ramp(56), roi, (90, 120))
    centres = np.arange(x1, x2) + 0.5
    exact = np.clip((centres - roi[0]) / (roi[2] - roi[0]), 0.5 / 56, 1 - 0.5 / 56)
    np.testing.assert_allclose(window, np.tile(exact, (y2 - y1, 1)), atol=0.02)
    inner = slice(2, -2)
    np.testing.assert_allclose(window[:, inner], np.tile(exact, (y2 - y1, 1))[:, inner], atol=2e-3)


@pytest.mark.parametrize(
    "roi", [(2.2, 3.7, 40.4, 44.1), (1, 1, 47, 47), (-5, -3, 30.5, 52), (8, 9, 20, 47)]
)
def test_paste_undoes_crop(roi):
    yy, xx = np.mgrid[:48, :48]
    mask = (xx - 20) ** 2 / 2 + (yy - 24) ** 2 < 120
    roi = np.array(roi, np.float32)
    window, (x1, y1, x2, y2) = paste_window(geometry.crop_mask(mask, roi, 56), roi, (48, 48))
    wrong = (window >= 0.5) != mask[y1:y2, x1:x2]
    assert wrong.mean() < 0.004


def test_crop_undoes_paste():
    values = ramp(8, (0.6, 0.4))
    roi = np.array([4, 4, 84, 68], np.float32)
    window, (x1, y1, x2, y2) = paste_window(values, roi, (80, 100))
    whole = np.zeros((80, 100), np.float32)
    whole[y1:y2, x1:x2] = window
    np.testing.assert_allclose(geometry.crop_mask(whole, roi, 8), values, atol=0.02)


def test_paste_keeps_what_thin_limbs_add_up_to():
    values = np.zeros((56, 56), np.float32)
    values[:, 27:29] = 1  # two of 56 bins across 8 pixels
    window, _ = paste_window(values, np.array([0, 0, 8, 8], np.float32), (8, 8))
    np.testing.assert_allclose(window.sum(axis=1), 2 / 7, atol=1e-5)


def test_pasting_a_part_equals_a_part_of_the_paste():
    values = np.random.default_rng(0).random((3, 56, 56), np.float32)
    roi = np.array([3.4, 2.2, 91.7, 40.3], np.float32)
    window, (x1, y1, x2, y2) = paste_window(values, roi, (100, 100))
    part = paste_at(values, roi, (x1 + 5, y1 + 7, x2 - 1, y2 - 2))
    np.testing.assert_allclose(part, window[:, 7:-2, 5:-1], atol=1e-6)


def test_pasting_with_kept_memory_gives_the_same():
    values = np.random.default_rng(0).random((2, 56, 56), np.float32)
    scratch = BufferPool()
    for roi in ([3.4, 2.2, 91.7, 40.3], [3, 4, 12.5, 99], [0, 0, 100, 100], [5, 5, 9, 8.5]):
        roi = np.array(roi, np.float32)
        window, bounds = paste_window(values, roi, (100, 100))
        (grid,) = paste_grids(roi[None], np.array([bounds]), 56)
        again = paste_on(values, grid, bounds, scratch)
        np.testing.assert_array_equal(again, window)


def test_grids_made_together_are_those_of_each():
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 70, (30, 2))
    rois = np.concatenate([low, low + rng.uniform(0, 90, (30, 2))], axis=1).astype(np.float32)
    outside = [[5, 5, 5, 9], [200, 3, 210, 9], [-1e9, -1e9, -2e9, -2e9]]
    rois = np.concatenate([rois, outside]).astype(np.float32)
    bounds = geometry.all_roi_bounds(rois, (100, 100))
    values = rng.random((2, 56, 56), np.float32)
    grids = paste_grids(rois, bounds, 56)
    assert {type(axis) for grid in grids for axis in grid} == {Taps, Shares}
    for roi, window, grid in zip(rois[:-3], bounds.tolist(), grids, strict=False):
        together = paste_on(values, grid, tuple(window), BufferPool()).copy()
        np.testing.assert_array_equal(together, paste_at(values, roi, tuple(window)))
        x1, _, x2, y2 = window
        part = paste_on(values, grid, (x1, y2 - 1, (x1 + x2 + 1) // 2, y2), BufferPool())
        np.testing.assert_allclose(part, together[:, -1:, : part.shape[2]], atol=1e-6)
    assert len(grids) == 33 and paste_grids(rois[:0], bounds[:0], 56) == []


def test_a_single_bin_pastes_its_value():
    roi = np.array([1, 1, 4.5, 3], np.float32)
    window, _ = paste_window(np.full((2, 1, 1), 0.25, np.float32), roi, (9, 9))
    np.testing.assert_array_equal(window, np.full((2, 2, 4), 0.25))


@pytest.mark.parametrize(
    "roi",
    [
        (0, 0, 0, 0),
        (5, 5, 5, 9),
        (8, 8, 3, 3),
        (200, 10, 220, 30),
        (-30, -30, -1, -1),
        (3, 900, 9, 999),
    ],
)
def test_rois_without_pixels_paste_nothing(roi):
    values = np.ones((2, 56, 56), np.float32)
    window, (x1, y1, x2, y2) = paste_window(values, np.array(roi, np.float32), (20, 20))
    assert window.size == 0
    assert window.shape == (2, y2 - y1, x2 - x1)
    assert geometry.crop_mask(np.ones((20, 20), bool), np.array(roi, np.float32), 4).shape == (4, 4)


@pytest.mark.parametrize(
    "roi", [(3.2, 3.2, 3.4, 3.3), (0, 0, 1, 1), (19.5, 19.5, 21, 21), (4, 0, 4.01, 20)]
)
def test_tiny_rois_keep_their_value(roi):
    window, _ = paste_window(
        np.full((56, 56), 0.75, np.float32), np.array(roi, np.float32), (20, 20)
    )
    np.testing.assert_allclose(window, np.full(window.shape, 0.75), atol=1e-5)
    assert window.size >= 1


def test_a_one_pixel_image():
    window, bounds = paste_window(
        np.ones((56, 56), np.float32), np.array([-3, -3, 4, 4], np.float32), (1, 1)
    )
    assert bounds == (0, 0, 1, 1)
    np.testing.assert_allclose(window, [[1]])


def test_flipping_the_roi_flips_the_paste():
    values = np.random.default_rng(1).random((56, 56)).astype(np.float32)
    roi = np.array([[3.4, 2.2, 91.7, 40.3]], np.float32)
    flipped = AxisTransform.flip_x(100).to_input(roi)
    window, _ = paste_window(values, roi[0], (50, 100))
    mirror, _ = paste_window(values[:, ::-1], flipped[0], (50, 100))
    np.testing.assert_allclose(mirror[:, ::-1], window, atol=1e-4)

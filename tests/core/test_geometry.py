import numpy as np
import pytest

from human_edge_detection.core import geometry
from human_edge_detection.core.boxes import box_areas, box_iou, expand_boxes, padded_rois
from human_edge_detection.core.geometry import AxisTransform
from human_edge_detection.masks import paste as pasting
from human_edge_detection.masks.buffers import BufferPool


def ramp(size, slope_xy=(1.0, 0.0)):
    """Values of a plane at the centres of ``size`` by ``size`` bins, 0…1 along each axis."""
    centres = (np.arange(size) + 0.5) / size
    plane = slope_xy[0] * centres[None] + slope_xy[1] * centres[:, None]
    return plane.astype(np.float32)


def test_crop_counts_covered_area_exactly():
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    roi = np.array([0.5, 0.5, 3.5, 3.5], np.float32)
    quarter, half = 0.25 / 2.25, 0.5
    got = geometry.crop_mask(mask, roi, 2)
    np.testing.assert_allclose(got, np.full((2, 2), 1 / 2.25), atol=1e-6)
    got = geometry.crop_mask(mask, np.array([1, 1, 3, 3], np.float32), 4)
    np.testing.assert_allclose(got, np.ones((4, 4)), atol=1e-6)
    got = geometry.crop_mask(mask, np.array([0.5, 0.5, 1.5, 1.5], np.float32), 1)
    np.testing.assert_allclose(got, [[quarter * 2.25]], atol=1e-6)
    got = geometry.crop_mask(mask, np.array([0, 1, 2, 3], np.float32), 1)
    np.testing.assert_allclose(got, [[half]], atol=1e-6)


def test_crop_counts_what_lies_outside_the_image_as_uncovered():
    got = geometry.crop_mask(np.ones((2, 2), bool), np.array([-2, 0, 2, 2], np.float32), 2)
    np.testing.assert_allclose(got, [[0, 1], [0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    "roi", [(3.3, 2.6, 98.1, 77.9), (-20, -7, 130.5, 95), (10, 10, 31.3, 24.2)]
)
def test_a_pasted_ramp_spans_its_roi(roi):
    roi = np.array(roi, np.float32)
    window, (x1, y1, x2, y2) = pasting.paste_window(ramp(56), roi, (90, 120))
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
    window, (x1, y1, x2, y2) = pasting.paste_window(
        geometry.crop_mask(mask, roi, 56), roi, (48, 48)
    )
    wrong = (window >= 0.5) != mask[y1:y2, x1:x2]
    assert wrong.mean() < 0.004


def test_crop_undoes_paste():
    values = ramp(8, (0.6, 0.4))
    roi = np.array([4, 4, 84, 68], np.float32)
    window, (x1, y1, x2, y2) = pasting.paste_window(values, roi, (80, 100))
    whole = np.zeros((80, 100), np.float32)
    whole[y1:y2, x1:x2] = window
    np.testing.assert_allclose(geometry.crop_mask(whole, roi, 8), values, atol=0.02)


def test_paste_keeps_what_thin_limbs_add_up_to():
    values = np.zeros((56, 56), np.float32)
    values[:, 27:29] = 1  # two of 56 bins across 8 pixels
    window, _ = pasting.paste_window(values, np.array([0, 0, 8, 8], np.float32), (8, 8))
    np.testing.assert_allclose(window.sum(axis=1), 2 / 7, atol=1e-5)


def test_pasting_a_part_equals_a_part_of_the_paste():
    values = np.random.default_rng(0).random((3, 56, 56), np.float32)
    roi = np.array([3.4, 2.2, 91.7, 40.3], np.float32)
    window, (x1, y1, x2, y2) = pasting.paste_window(values, roi, (100, 100))
    part = pasting.paste_at(values, roi, (x1 + 5, y1 + 7, x2 - 1, y2 - 2))
    np.testing.assert_allclose(part, window[:, 7:-2, 5:-1], atol=1e-6)


def test_pasting_with_kept_memory_gives_the_same():
    values = np.random.default_rng(0).random((2, 56, 56), np.float32)
    scratch = BufferPool()
    for roi in ([3.4, 2.2, 91.7, 40.3], [3, 4, 12.5, 99], [0, 0, 100, 100], [5, 5, 9, 8.5]):
        roi = np.array(roi, np.float32)
        window, bounds = pasting.paste_window(values, roi, (100, 100))
        again = pasting.paste_at(values, roi, bounds, scratch)
        np.testing.assert_array_equal(again, window)


def test_grids_made_together_are_those_of_each():
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 70, (30, 2))
    rois = np.concatenate([low, low + rng.uniform(0, 90, (30, 2))], axis=1).astype(np.float32)
    outside = [[5, 5, 5, 9], [200, 3, 210, 9], [-1e9, -1e9, -2e9, -2e9]]
    rois = np.concatenate([rois, outside]).astype(np.float32)
    bounds = geometry.all_roi_bounds(rois, (100, 100))
    values = rng.random((2, 56, 56), np.float32)
    grids = pasting.paste_grids(rois, bounds, 56)
    assert {type(axis) for grid in grids for axis in grid} == {pasting.Taps, pasting.Shares}
    for roi, window, grid in zip(rois[:-3], bounds.tolist(), grids, strict=False):
        together = pasting.paste_on(values, grid, tuple(window), BufferPool()).copy()
        np.testing.assert_array_equal(together, pasting.paste_at(values, roi, tuple(window)))
        x1, _, x2, y2 = window
        part = pasting.paste_on(values, grid, (x1, y2 - 1, (x1 + x2 + 1) // 2, y2), BufferPool())
        np.testing.assert_allclose(part, together[:, -1:, : part.shape[2]], atol=1e-6)
    assert len(grids) == 33 and pasting.paste_grids(rois[:0], bounds[:0], 56) == []


def test_a_single_bin_pastes_its_value():
    roi = np.array([1, 1, 4.5, 3], np.float32)
    window, _ = pasting.paste_window(np.full((2, 1, 1), 0.25, np.float32), roi, (9, 9))
    np.testing.assert_array_equal(window, np.full((2, 2, 4), 0.25))


def test_the_bounds_of_all_rois_are_those_of_each():
    rois = np.array([[1.2, 3, 4.1, 8.9], [5, 5, 5, 9], [8, 8, 3, 3], [-9, 2, 40, 30]], np.float32)
    got = geometry.all_roi_bounds(rois, (20, 25))
    np.testing.assert_array_equal(got, [[1, 3, 5, 9], [5, 5, 5, 5], [8, 8, 8, 8], [0, 2, 25, 20]])
    assert [tuple(row) for row in got] == [geometry.roi_bounds(roi, (20, 25)) for roi in rois]
    assert geometry.all_roi_bounds(np.zeros((0, 4), np.float32), (20, 25)).shape == (0, 4)


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
    window, (x1, y1, x2, y2) = pasting.paste_window(values, np.array(roi, np.float32), (20, 20))
    assert window.size == 0
    assert window.shape == (2, y2 - y1, x2 - x1)
    assert geometry.crop_mask(np.ones((20, 20), bool), np.array(roi, np.float32), 4).shape == (4, 4)


@pytest.mark.parametrize(
    "roi", [(3.2, 3.2, 3.4, 3.3), (0, 0, 1, 1), (19.5, 19.5, 21, 21), (4, 0, 4.01, 20)]
)
def test_tiny_rois_keep_their_value(roi):
    window, _ = pasting.paste_window(
        np.full((56, 56), 0.75, np.float32), np.array(roi, np.float32), (20, 20)
    )
    np.testing.assert_allclose(window, np.full(window.shape, 0.75), atol=1e-5)
    assert window.size >= 1


def test_a_one_pixel_image():
    window, bounds = pasting.paste_window(
        np.ones((56, 56), np.float32), np.array([-3, -3, 4, 4], np.float32), (1, 1)
    )
    assert bounds == (0, 0, 1, 1)
    np.testing.assert_allclose(window, [[1]])


def test_flipping_the_roi_flips_the_paste():
    values = np.random.default_rng(1).random((56, 56)).astype(np.float32)
    roi = np.array([[3.4, 2.2, 91.7, 40.3]], np.float32)
    flipped = AxisTransform.flip_x(100).to_input(roi)
    window, _ = pasting.paste_window(values, roi[0], (50, 100))
    mirror, _ = pasting.paste_window(values[:, ::-1], flipped[0], (50, 100))
    np.testing.assert_allclose(mirror[:, ::-1], window, atol=1e-4)


def test_two_flips_are_none():
    flip = AxisTransform.flip_x(640)
    twice = flip.then(flip)
    boxes = np.array([[1, 2, 30, 40.5], [0, 0, 640, 480]], np.float32)
    assert twice.scale_xy == (1.0, 1.0)
    assert twice.offset_xy == (0.0, 0.0)
    np.testing.assert_allclose(flip.to_input(boxes)[0], [610, 2, 639, 40.5])
    np.testing.assert_allclose(twice.to_input(boxes), boxes)


def test_transforms_chain_and_come_back():
    first = AxisTransform((2.0, 3.0), (5.0, -7.0))
    both = first.then(AxisTransform((-0.5, 0.25), (100.0, 4.0)))
    boxes = np.array([[1, 2, 30, 40], [0, 0, 0, 0]], np.float32)
    step = AxisTransform((-0.5, 0.25), (100.0, 4.0)).to_input(first.to_input(boxes))
    np.testing.assert_allclose(both.to_input(boxes), step, atol=1e-4)
    np.testing.assert_allclose(both.to_source(both.to_input(boxes)), boxes, atol=1e-4)


@pytest.mark.parametrize(
    "size_hw", [(480, 640), (640, 480), (1, 1), (300, 5000), (33, 17), (640, 640)]
)
def test_letterbox_puts_the_image_where_its_transform_says(size_hw):
    image = np.full((*size_hw, 3), 255, np.uint8)
    boxed, transform = geometry.letterbox(image, (96, 128))
    whole = np.array([[0, 0, size_hw[1], size_hw[0]]], np.float32)
    x1, y1, x2, y2 = transform.to_input(whole)[0].round().astype(int)
    assert boxed.shape == (96, 128, 3)
    assert (boxed[y1:y2, x1:x2] == 255).all()
    assert (boxed == 255).sum() == (y2 - y1) * (x2 - x1) * 3
    assert (x2 - x1 == 128) or (y2 - y1 == 96)
    np.testing.assert_allclose(transform.to_source(transform.to_input(whole)), whole, atol=1e-2)


def test_letterbox_carries_a_mark_to_where_its_box_goes():
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 50:90] = 255
    boxed, transform = geometry.letterbox(image, (320, 320))
    x1, y1, x2, y2 = transform.to_input(np.array([[50, 20, 90, 60]], np.float32))[0]
    seen = np.argwhere(boxed[..., 0] > 200)
    np.testing.assert_allclose(seen.min(axis=0), [y1, x1], atol=1)
    np.testing.assert_allclose(seen.max(axis=0) + 1, [y2, x2], atol=1)


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


def test_boxes_that_are_not_boxes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        expand_boxes(np.zeros((2, 5)), 0.1)
    with pytest.raises(ValueError, match="finite"):
        expand_boxes(np.array([[0, 0, np.nan, 1]]), 0.1)

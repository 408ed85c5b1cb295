import numpy as np
import pytest

from human_edge_detection.core import geometry
from human_edge_detection.core.geometry import AxisTransform


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


def test_the_bounds_of_all_rois_are_those_of_each():
    rois = np.array([[1.2, 3, 4.1, 8.9], [5, 5, 5, 9], [8, 8, 3, 3], [-9, 2, 40, 30]], np.float32)
    got = geometry.all_roi_bounds(rois, (20, 25))
    np.testing.assert_array_equal(got, [[1, 3, 5, 9], [5, 5, 5, 5], [8, 8, 8, 8], [0, 2, 25, 20]])
    assert [tuple(row) for row in got] == [geometry.roi_bounds(roi, (20, 25)) for roi in rois]
    assert geometry.all_roi_bounds(np.zeros((0, 4), np.float32), (20, 25)).shape == (0, 4)


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


@pytest.mark.parametrize(
    ("source_hw", "frame_hw"),
    [
        ((480, 640), (384, 512)),
        ((640, 480), (512, 384)),
        ((427, 640), (352, 512)),  # 341.6 rows
        ((352, 512), (352, 512)),
        ((100, 100), (512, 512)),
        ((1, 5000), (32, 512)),
    ],
)
def test_a_frame_holds_the_image_at_the_scale_of_the_largest(source_hw, frame_hw):
    assert geometry.frame_hw(source_hw, (512, 512), 32) == frame_hw
    small = geometry.letterbox_transform(source_hw, frame_hw)
    large = geometry.letterbox_transform(source_hw, (512, 512))
    assert small.scale_xy == large.scale_xy


def test_letterbox_carries_a_mark_to_where_its_box_goes():
    image = np.zeros((100, 200, 3), np.uint8)
    image[20:60, 50:90] = 255
    boxed, transform = geometry.letterbox(image, (320, 320))
    x1, y1, x2, y2 = transform.to_input(np.array([[50, 20, 90, 60]], np.float32))[0]
    seen = np.argwhere(boxed[..., 0] > 200)
    np.testing.assert_allclose(seen.min(axis=0), [y1, x1], atol=1)
    np.testing.assert_allclose(seen.max(axis=0) + 1, [y2, x2], atol=1)


def test_grid_points_are_the_centres_of_cells_and_sample_reads_there():
    points = geometry.grid_points(np.float32([10, 0, 14, 3]), (1, 2))
    np.testing.assert_array_equal(points, [[[11, 1.5], [13, 1.5]]])
    values = np.float32([[0, 1, 2], [10, 11, 12]])
    centres = geometry.grid_points(np.float32([0, 0, 3, 2]), (2, 3))
    np.testing.assert_array_equal(geometry.sample(values, centres), values)
    between = geometry.sample(values, np.float32([[[1, 1], [-5, 0.5], [9, 9]]]))
    np.testing.assert_allclose(between, [[5.5, 0, 12]])
    both = geometry.sample(np.stack([values, -values], axis=2), centres)
    np.testing.assert_array_equal(both[..., 1], -values)

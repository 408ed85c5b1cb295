import numpy as np
from pycocotools import mask as coco_mask

from human_edge_detection.masks.forms import cut_out, outlines


def test_an_outline_runs_on_the_pixels_edges():
    rings = outlines(np.ones((2, 3), bool), (10, 20), 0)
    assert len(rings) == 1
    assert {tuple(point) for point in rings[0]} == {(10, 20), (13, 20), (13, 22), (10, 22)}


def test_outlines_give_the_mask_back():
    yy, xx = np.mgrid[:60, :80]
    mask = ((xx - 30) ** 2 / 3 + (yy - 30) ** 2 < 300) | ((xx > 65) & (yy > 45))
    rings = outlines(mask, (5, 3), 0.5)
    assert len(rings) == 2
    assert len(rings[0]) < 60
    flat = [ring.ravel().tolist() for ring in rings]
    decoded = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, 70, 90))).astype(bool)
    whole = np.pad(mask, ((3, 7), (5, 5)))
    assert whole.shape == decoded.shape
    assert (decoded & whole).sum() / (decoded | whole).sum() > 0.98


def test_no_mask_has_no_outline():
    assert outlines(np.zeros((4, 4), bool), (0, 0), 0.5) == []
    assert outlines(np.zeros((0, 0), bool), (7, 7), 0.5) == []


def test_a_cutout_is_as_large_as_its_mask():
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    mask = np.zeros((3, 4), bool)
    mask[1, 1] = mask[2, 2] = True
    got = cut_out(image, mask, (2, 1, 6, 4))
    np.testing.assert_array_equal(got[..., :3], image[2:4, 3:5])
    np.testing.assert_array_equal(got[..., 3], [[255, 0], [0, 255]])
    assert cut_out(image, np.zeros((3, 4), bool), (2, 1, 6, 4)).shape == (0, 0, 4)

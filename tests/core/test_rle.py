import numpy as np
import pytest
from pycocotools import mask as coco_mask

from human_edge_detection.core.rle import (
    decode_rle,
    decode_segmentation,
    encode_mask,
    encode_window,
    run_lengths,
)


def in_image(mask, bounds, size_hw):
    whole = np.zeros(size_hw, np.uint8)
    x1, y1, x2, y2 = bounds
    whole[y1:y2, x1:x2] = mask
    return whole


def test_run_lengths_written_out():
    mask = np.array([[True, False], [True, True]])
    # columns of 3: 000 | 011 | 001 | 000
    assert run_lengths(mask, (1, 1, 3, 3), (3, 4)) == [4, 2, 2, 1, 3]


@pytest.mark.parametrize(
    ("shape", "bounds", "size_hw"),
    [((5, 4), (2, 1, 6, 6), (9, 8)), ((9, 8), (0, 0, 8, 9), (9, 8)), ((1, 1), (0, 0, 1, 1), (1, 1)),
     ((0, 0), (3, 3, 3, 3), (9, 8)), ((9, 2), (6, 0, 8, 9), (9, 8))],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rle_equals_encoding_the_whole_image(shape, bounds, size_hw, share):
    mask = np.random.default_rng(0).random(shape) < share
    rle = encode_window(mask, bounds, size_hw)
    whole = in_image(mask, bounds, size_hw)
    wanted = coco_mask.encode(np.asfortranarray(whole))
    assert rle == {"size": list(size_hw), "counts": wanted["counts"].decode()}
    np.testing.assert_array_equal(coco_mask.decode(rle), whole)


def test_a_whole_mask_is_a_window_as_large_as_the_image():
    mask = np.random.default_rng(0).random((9, 8)) < 0.5
    assert encode_mask(mask) == encode_window(mask, (0, 0, 8, 9), (9, 8))
    np.testing.assert_array_equal(decode_rle(encode_mask(mask)), mask)


def test_every_kind_of_segmentation_is_decoded():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    runs = {"size": [6, 8], "counts": run_lengths(mask, (0, 0, 8, 6), (6, 8))}
    for segmentation in ([[2.0, 1, 7, 1, 7, 4, 2, 4]], runs, encode_mask(mask)):
        np.testing.assert_array_equal(decode_segmentation(segmentation, (6, 8)), mask)
    with pytest.raises(ValueError, match="not"):
        decode_segmentation(encode_mask(mask), (8, 6))

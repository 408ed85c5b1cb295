import numpy as np
import pytest
from pycocotools import mask as coco_mask

from human_edge_detection.core.rle import (
    compress,
    decode_rle,
    decode_segmentation,
    encode_mask,
    encode_window,
    rle_box,
    run_lengths,
    segmentation_fault,
)


def in_image(mask, bounds, size_hw):
    whole = np.zeros(size_hw, np.uint8)
    x1, y1, x2, y2 = bounds
    whole[y1:y2, x1:x2] = mask
    return whole


def test_the_box_around_a_mask():
    mask = np.zeros((6, 9), bool)
    assert rle_box(encode_mask(mask)).tolist() == [0, 0, 0, 0]
    mask[1:4, 2:7] = True
    assert rle_box(encode_mask(mask)).tolist() == [2, 1, 7, 4]


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
    with pytest.raises(ValueError, match=r"RLE of size \[6, 8\] in an image of size \[8, 6\]"):
        decode_segmentation(encode_mask(mask), (8, 6))


def slow_runs(counts: str) -> list[int]:
    """The obvious loop of COCO's ``rleFrString``."""
    runs: list[int] = []
    place = 0
    while place < len(counts):
        value, shift, more = 0, 0, True
        while more:
            code = ord(counts[place]) - 48
            value |= (code & 31) << shift
            more, shift, place = bool(code & 32), shift + 5, place + 1
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


@pytest.mark.parametrize("seed", range(20))
def test_compressed_counts_are_read_as_by_the_obvious_loop(seed):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    mask = rng.random(size) < rng.choice([0.0, 0.02, 0.5, 0.98, 1.0])
    counts = encode_mask(mask)["counts"]
    assert slow_runs(counts) == run_lengths(mask, (0, 0, size[1], size[0]), size)
    assert segmentation_fault({"size": list(size), "counts": counts}, size) == ""
    assert compress({"size": list(size), "counts": counts}, size)["counts"] == counts


def test_no_damaged_string_reaches_the_decoder():
    """Whatever passes has runs from 0 on that sum to the image, as the obvious loop reads them."""
    rng = np.random.default_rng(0)
    mask = rng.random((50, 40)) < 0.3
    sound, passed = encode_mask(mask)["counts"], 0
    for _ in range(3000):
        letters = list(sound)
        for _ in range(rng.integers(1, 4)):
            kind, at = rng.integers(4), rng.integers(len(letters))
            if kind == 0:
                letters[at] = chr(rng.integers(40, 120))
            elif kind == 1:
                del letters[at]
            elif kind == 2:
                letters.insert(at, chr(rng.integers(48, 112)))
            else:
                del letters[max(at, 1) :]
        shape = {"size": [50, 40], "counts": "".join(letters)}
        if not segmentation_fault(shape, (50, 40)):
            passed += 1
            runs = slow_runs(shape["counts"])
            assert min(runs) >= 0 and sum(runs) == 2000
            assert decode_segmentation(shape, (50, 40)).shape == (50, 40)
    assert passed < 300


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ({"size": [6, 8], "counts": "o"}, "damaged"),  # says that more follows
        ({"size": [6, 8], "counts": ""}, "damaged"),
        ({"size": [6, 8], "counts": "é"}, "damaged"),
        ({"size": [6, 8], "counts": "`1\x00"}, "damaged"),
        ({"size": [6, 8], "counts": "oooooooooooooooo0"}, "damaged"),
        ({"size": [6, 8], "counts": "5"}, "sum to 5, not 48"),
        ({"size": [6, 8], "counts": [-5, 53]}, "whole numbers from 0 on"),
        ({"size": [6, 8], "counts": [2**32, 48 - 2**32]}, "whole numbers from 0 on"),
        ({"size": [6, 8], "counts": [True, 47]}, "whole numbers from 0 on"),
        ({"size": [6, 8], "counts": 5}, "neither a list nor text"),
        ({"size": None, "counts": "5"}, "of size None"),
        ({"counts": "5"}, "neither polygons nor RLE"),
        (None, "neither polygons nor RLE"),
        ([], "empty"),
        ([[1, 2, 3, 4]], "three x, y pairs"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three x, y pairs"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),
        ([[0, 0, float("nan"), 0, 1, 1]], "no numbers"),
        ([[0, 0, 10**400, 0, 1, 1]], "no numbers"),
        ([[0, 0, "a", 0, 1, 1]], "no numbers"),
        ([[[0], [0], [1], [0], [1], [1]]], "no numbers"),
    ],
)
def test_what_is_wrong_is_said_before_pycocotools_sees_it(segmentation, words):
    assert words in segmentation_fault(segmentation, (6, 8))
    with pytest.raises(ValueError, match=words):
        decode_segmentation(segmentation, (6, 8))


def test_a_polygon_of_endless_edges_is_refused():
    zigzag = [0.0, 0.0, 9000.0, 9000.0] * 4000
    assert "too long" in segmentation_fault([zigzag], (3000, 3000))
    assert segmentation_fault([[0.0, 0.0, 9000.0, 0.0, 9000.0, 9000.0]], (3000, 3000)) == ""

"""COCO's run-length encoding (RLE) of masks: column by column, the background's run first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import shown
from human_edge_detection.core.structures import Bounds, FloatArray

BoolArray = NDArray[np.bool_]

Rle = dict[str, Any]
"""``size`` [height, width] and ``counts``, COCO's compressed run lengths as text."""


def encode_mask(mask: BoolArray) -> Rle:
    """The compressed RLE of a bool mask [H, W]; ``counts`` is text, which JSON can hold."""
    from pycocotools import mask as mask_api

    rle = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": rle["counts"].decode("ascii")}


def encode_window(mask: BoolArray, bounds: Bounds, size_hw: tuple[int, int]) -> Rle:
    """The compressed RLE of a mask that fills a window of an image; no image is allocated.

    Args:
        mask: bool [h, w].
        bounds: the window ``x1, y1, x2, y2`` of the image that the mask fills.
        size_hw: the image's height and width.
    """
    from pycocotools import mask as mask_api

    height, width = size_hw
    runs = {"size": [height, width], "counts": run_lengths(mask, bounds, size_hw)}
    counts = mask_api.frPyObjects(runs, height, width)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii")}


def run_lengths(mask: BoolArray, bounds: Bounds, size_hw: tuple[int, int]) -> list[int]:
    """The uncompressed run lengths of a mask; the arguments are those of :func:`encode_window`."""
    height, width = size_hw
    x1, y1 = bounds[:2]
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = mask.T
    steps = np.diff(columns, axis=1)
    place = (np.arange(mask.shape[1])[:, None] + x1) * height + np.arange(mask.shape[0] + 1) + y1
    starts, ends = place[steps > 0], place[steps < 0]
    goes_on = starts[1:] == ends[:-1]  # from the bottom of one column to the top of the next
    starts = starts[np.concatenate([[True], ~goes_on])] if len(starts) else starts
    ends = ends[np.concatenate([~goes_on, [True]])] if len(ends) else ends
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    return [int(count) for count in (counts[:-1] if len(edges) and counts[-1] == 0 else counts)]


def decode_rle(rle: Rle) -> BoolArray:
    """The bool mask [H, W] of a compressed RLE that this module made or checked."""
    from pycocotools import mask as mask_api

    return np.asarray(mask_api.decode(rle), np.bool_)


def rle_box(rle: Rle) -> FloatArray:
    """The box float32 [4] x1, y1, x2, y2 around the mask of a compressed RLE; zeros if empty."""
    from pycocotools import mask as mask_api

    x, y, width, height = mask_api.toBbox(rle).tolist()
    return np.array([x, y, x + width, y + height], np.float32)


def rle_area(rle: Rle) -> int:
    """The number of pixels in the mask of a compressed RLE."""
    from pycocotools import mask as mask_api

    return int(mask_api.area(rle))


def decode_segmentation(segmentation: object, size_hw: tuple[int, int]) -> BoolArray:
    """The bool mask [H, W] of a COCO ``segmentation``; COCO's rule decides a polygon's pixels.

    Args:
        segmentation: polygons, or an RLE whose ``counts`` are compressed or a list.
        size_hw: the image's height and width.

    Raises:
        ValueError: if it is none of these, is of another size, or is damaged.
    """
    return decode_rle(compress(segmentation, size_hw))


def compress(segmentation: object, size_hw: tuple[int, int]) -> Rle:
    """The compressed RLE of a COCO ``segmentation``; the rest is as of ``decode_segmentation``."""
    from pycocotools import mask as mask_api

    if fault := segmentation_fault(segmentation, size_hw):
        raise ValueError(fault)
    height, width = size_hw
    rle: Any = segmentation
    if isinstance(segmentation, list):
        rle = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    elif isinstance(rle["counts"], list):
        rle = mask_api.frPyObjects(segmentation, height, width)
    counts = rle["counts"]
    return {
        "size": [height, width],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def segmentation_fault(segmentation: object, size_hw: tuple[int, int]) -> str:
    """What is wrong with a COCO ``segmentation`` that is not empty, or nothing: ``""``.

    pycocotools believes what it is given: damaged counts and endless polygons make it write
    outside its memory. Whatever passes here it decodes to a mask of ``size_hw``.
    """
    if isinstance(segmentation, list):
        if not segmentation:
            return "segmentation is empty"
        faults = (_polygon_fault(part, size_hw) for part in segmentation)
        return next((fault for fault in faults if fault), "")
    if not isinstance(segmentation, dict) or not {"counts", "size"} <= segmentation.keys():
        return "segmentation is neither polygons nor RLE"
    if segmentation["size"] != list(size_hw) and segmentation["size"] != size_hw:
        stated = shown(segmentation["size"], 60)
        return f"RLE of size {stated} in an image of size {list(size_hw)}"
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(type(count) is int and 0 <= count < 1 << 31 for count in counts):
            return "RLE counts are not all whole numbers from 0 on"
        total = sum(counts)
    elif isinstance(counts, str | bytes):
        runs = _compressed_runs(counts)
        if runs is None or (runs < 0).any():
            return "RLE counts are damaged"
        total = int(runs.sum())
    else:
        return "RLE counts are neither a list nor text"
    pixels = size_hw[0] * size_hw[1]
    return "" if total == pixels else f"RLE counts sum to {total}, not {pixels}"


_FAR = 4
"""A polygon that reaches this many times the photo's long side beyond it is a slip."""

_MAX_EDGE_POINTS = 1 << 25
"""Points on a polygon's edges, five a pixel: pycocotools needs some 20 bytes for each."""


def _polygon_fault(part: object, size_hw: tuple[int, int]) -> str:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        return "a polygon needs at least three x, y pairs"
    far = _FAR * max(size_hw)
    try:  # a sum shows NaN and text, the extremes show slips; both run at C speed
        low, high = min(part), max(part)
        is_sound = math.isfinite(sum(part)) and -far < low and high < far
    except (TypeError, ValueError, OverflowError):
        is_sound = False
    if not is_sound:
        return "a polygon has corners that are no numbers or far outside the image"
    if 5 * len(part) * (high - low) > _MAX_EDGE_POINTS:  # a bound that most polygons keep
        corners = np.asarray(part, np.float64).reshape(-1, 2)
        steps = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1)
        if 5 * steps.sum() > _MAX_EDGE_POINTS:
            return "a polygon's edges are too long"
    return ""


def _compressed_runs(counts: str | bytes) -> NDArray[np.int64] | None:
    """The run lengths int64 of COCO's compressed counts, None if they are not whole.

    Each number is a group of characters 48 … 111 with five bits each, the lowest first; bit 32
    says that more follow, bit 16 of the last one is the sign. From the fourth number on it is the
    difference to the number two before (pycocotools, ``maskApi.c``, ``rleFrString``).
    """
    try:
        data = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError:
        return None
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if codes.size == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits hold any run of an image
        return None
    place = np.arange(codes.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values

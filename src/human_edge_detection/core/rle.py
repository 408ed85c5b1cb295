"""COCO's run-length encoding (RLE) of masks: column by column, the background's run first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import Bounds

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
    """The bool mask [H, W] of a compressed RLE."""
    from pycocotools import mask as mask_api

    return np.asarray(mask_api.decode(rle), np.bool_)


def decode_segmentation(
    segmentation: list[list[float]] | dict[str, Any], size_hw: tuple[int, int]
) -> BoolArray:
    """The bool mask [H, W] of a COCO ``segmentation``; COCO's rule decides a polygon's pixels.

    Args:
        segmentation: polygons, or an RLE whose ``counts`` are compressed or a list.
        size_hw: the image's height and width.

    Raises:
        ValueError, TypeError, KeyError, RuntimeError: from pycocotools, if it is none of these.
        ValueError: if an RLE is of another size.
    """
    from pycocotools import mask as mask_api

    height, width = size_hw
    rle: Any = segmentation
    if isinstance(segmentation, list):
        rle = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = mask_api.frPyObjects(segmentation, height, width)
    mask = decode_rle(rle)
    if mask.shape != size_hw:
        raise ValueError(f"it is for {mask.shape}, not {size_hw}")
    return mask

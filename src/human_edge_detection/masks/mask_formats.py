"""A mask's pixels as other tools want them: COCO run lengths, polygons, cut-out pictures.

A mask is given by a window of the image and the window's place in it, so that nothing here is as
large as the image.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import Bounds, FloatArray, ImageArray


def run_lengths(mask: NDArray[np.bool_], bounds: Bounds, size_hw: tuple[int, int]) -> list[int]:
    """COCO's uncompressed run lengths of a mask: column by column, the background's run first.

    Args:
        mask: bool [h, w].
        bounds: the window ``x1, y1, x2, y2`` of the image that the mask fills.
        size_hw: the image's height and width.
    """
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


def encode_rle(
    mask: NDArray[np.bool_], bounds: Bounds, size_hw: tuple[int, int]
) -> dict[str, object]:
    """COCO's compressed RLE, ``{"size": [H, W], "counts": str}``, of a mask in a window."""
    from pycocotools import mask as coco_mask

    height, width = size_hw
    runs = {"size": [height, width], "counts": run_lengths(mask, bounds, size_hw)}
    counts = coco_mask.frPyObjects(runs, height, width)["counts"]
    return {"size": [height, width], "counts": counts.decode("ascii")}


def outlines(
    mask: NDArray[np.bool_], origin_xy: tuple[int, int], tolerance: float
) -> list[FloatArray]:
    """The outer rings of a mask's parts, along the pixels' edges, the largest part first.

    Args:
        mask: bool [h, w], a window of the image.
        origin_xy: where the window's first pixel lies in the image.
        tolerance: how far, in pixels, a simplified ring may leave the exact one; 0 for exact.

    Returns:
        float32 [P, 2] xy points per part, P ≥ 3, image pixels. Holes are not told.
    """
    # Twice the resolution with an extra border: odd cells are pixels, even cells their edges.
    # A pixel sets its own cell and its edges, so that the traced border runs on the edges.
    cells = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    cells[1::2, 1::2] = mask
    cells = cv2.dilate(cells, np.ones((3, 3), np.uint8))
    found, _ = cv2.findContours(cells, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rings = sorted(found, key=cv2.contourArea, reverse=True)
    if tolerance > 0:
        rings = [cv2.approxPolyDP(ring, 2 * tolerance, closed=True) for ring in rings]
    offset = np.array(origin_xy, np.float32)
    points = [np.asarray(ring[:, 0], np.float32) for ring in rings if len(ring) >= 3]
    return [np.asarray(ring / 2 + offset, np.float32) for ring in points]


def cut_out(image: ImageArray, mask: NDArray[np.bool_], bounds: Bounds) -> ImageArray:
    """The masked part of an image as RGBA uint8 [h, w, 4], transparent around the person.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: bool [h, w].
        bounds: the window ``x1, y1, x2, y2`` of the image that the mask fills.

    Returns:
        As large as the masked part; [0, 0, 4] if the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return np.zeros((0, 0, 4), np.uint8)
    inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    x1, y1, x2, y2 = bounds
    alpha = np.where(mask[inner], 255, 0).astype(np.uint8)
    return np.dstack([image[y1:y2, x1:x2][inner], alpha])

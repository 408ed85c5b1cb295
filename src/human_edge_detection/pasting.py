"""From a ROI's bins to the image's pixels, the inverse of ``geometry.crop_mask``."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.geometry import cover_weights, roi_bounds
from human_edge_detection.scratch import Scratch
from human_edge_detection.structures import FloatArray


def _averages(
    count: int, low: float, high: float, first: int, last: int
) -> tuple[FloatArray, slice]:
    """Weights [n, count] of the bins in each pixel, and which rows are ``first`` to ``last``.

    All pixels of the ROI, so that rounding does not depend on which of them are asked for.
    """
    start, stop = min(first, int(np.floor(low))), max(last, int(np.ceil(high)))
    edges = np.clip((np.arange(start, stop + 1) - low) * (count / max(high - low, 1e-6)), 0, count)
    return cover_weights(edges, count), slice(first - start, last - start)


def _taps(
    count: int, step: float, low: float, first: int, last: int
) -> tuple[NDArray[np.intp], FloatArray]:
    """For each pixel the bin before its centre, and how far it lies on the way to the next bin."""
    position = np.arange(first + 0.5, last)
    position -= low
    position *= step
    position -= 0.5
    np.minimum(np.maximum(position, 0, out=position), count - 1, out=position)
    before = position.astype(np.intp)
    np.minimum(before, max(count - 2, 0), out=before)
    position -= before
    return before, position.astype(np.float32)


def _interpolate(
    values: FloatArray, taps: tuple[NDArray[np.intp], FloatArray], name: str, scratch: Scratch
) -> FloatArray:
    """The values [..., M, K] at other places along the axis -2, float32 [..., n, K].

    ``name`` sets its memory apart from other results that are in use.
    """
    # Two taps by hand: as a product of matrices, BLAS starts threads that fight ONNX Runtime's.
    before, part = taps
    shape = (*values.shape[:-2], len(before), values.shape[-1])
    here = values.take(before, -2, out=scratch.array(name, shape), mode="clip")
    if values.shape[-2] == 1:
        return here
    steps = scratch.array(name + " steps", values[..., 1:, :].shape)
    np.subtract(values[..., 1:, :], values[..., :-1, :], out=steps)
    up = steps.take(before, -2, out=scratch.array(name + " up", shape), mode="clip")
    parts = scratch.array("parts", shape[-2:])  # spread out: NumPy is slow on many short rows
    parts[:] = part[:, None]
    up *= parts
    up += here
    return up


def _paste_columns(
    values: FloatArray, low: float, high: float, first: int, last: int, scratch: Scratch
) -> FloatArray:
    """The values [..., M, M] at the pixels ``first`` to ``last`` along x, bins of low…high."""
    count = values.shape[-1]
    step = count / max(high - low, 1e-6)
    if step > 1:  # several bins a pixel: average them, or thin limbs fall between the samples
        weights, inside = _averages(count, low, high, first, last)
        return np.asarray(values @ weights.T, np.float32)[..., inside]
    rows = values.reshape(-1, count)
    turned: FloatArray = scratch.array("turned", rows.shape[::-1])
    cv2.transpose(rows, dst=turned)
    wide = _interpolate(turned, _taps(count, step, low, first, last), "columns", scratch)
    back: FloatArray = scratch.array("wide", wide.shape[::-1])
    cv2.transpose(wide, dst=back)
    return back.reshape(*values.shape[:-1], last - first)


def _paste_rows(
    values: FloatArray, low: float, high: float, first: int, last: int, scratch: Scratch
) -> FloatArray:
    """The values [..., M, w] at the pixels ``first`` to ``last`` along y, bins of low…high."""
    count = values.shape[-2]
    step = count / max(high - low, 1e-6)
    if step <= 1:
        return _interpolate(values, _taps(count, step, low, first, last), "rows", scratch)
    weights, inside = _averages(count, low, high, first, last)
    return np.asarray(weights @ values, np.float32)[..., inside, :]


def paste_at(
    values: FloatArray,
    roi_xyxy: FloatArray,
    bounds: tuple[int, int, int, int],
    scratch: Scratch | None = None,
) -> FloatArray:
    """A ROI's values at a window of whole pixels, the inverse of ``geometry.crop_mask``.

    Interpolated linearly where a bin is larger than a pixel, averaged where several bins fall
    into one.

    Args:
        values: float32 [M, M] or [C, M, M].
        roi_xyxy: float [4], source pixels, not empty.
        bounds: a window ``x1, y1, x2, y2`` of pixels that the ROI touches, end-exclusive.
        scratch: memory to use; the result is valid until its next use. None for fresh memory.

    Returns:
        float32 [h, w] or [C, h, w].
    """
    x1, y1, x2, y2 = bounds
    values = np.asarray(values, np.float32)
    if x2 <= x1 or y2 <= y1:
        return np.zeros((*values.shape[:-2], y2 - y1, x2 - x1), np.float32)
    left, top, right, bottom = roi_xyxy.tolist()
    scratch = scratch or Scratch()
    wide = _paste_columns(values, left, right, x1, x2, scratch)
    return _paste_rows(wide, top, bottom, y1, y2, scratch)


def paste_window(
    values: FloatArray, roi_xyxy: FloatArray, size_hw: tuple[int, int]
) -> tuple[FloatArray, tuple[int, int, int, int]]:
    """A ROI's values at all its pixels in the image, and the window that these fill.

    Args:
        values: float32 [M, M] or [C, M, M].
        roi_xyxy: float [4], source pixels.
        size_hw: the image's height and width.

    Returns:
        float32 [h, w] or [C, h, w], and ``x1, y1, x2, y2`` whole pixels, empty for an empty ROI.
    """
    bounds = roi_bounds(roi_xyxy, size_hw)
    return paste_at(values, roi_xyxy, bounds), bounds

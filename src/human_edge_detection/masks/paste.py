"""Values of a ROI's bins at the image's pixels: the inverse of ``geometry.crop_mask``.

Interpolated linearly where a bin is larger than a pixel; averaged where several bins fall into one
pixel, because thin limbs would otherwise fall between the samples.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.geometry import all_roi_bounds, cover_weights, roi_bounds
from human_edge_detection.core.structures import Bounds, FloatArray
from human_edge_detection.masks.probabilities import cut, log_odds

MOST_KEPT = 1 << 24
"""Bytes; a larger array is not kept, so that one huge crowd does not hold memory for ever."""

ALIGNMENT = 64
"""Bytes of a cache line; sums over arrays that begin with one are a fifth faster."""


class BufferPool:
    """Named arrays whose memory is used again: fresh memory often costs more than the sums in it.

    For one thread. An array is valid until its name is asked for again.
    """

    def __init__(self) -> None:
        self._flat: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[Any]:
        """An uninitialised array of ``shape``; a name always has the same dtype."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size:
            flat = _aligned(size, dtype)
            if flat.nbytes <= MOST_KEPT:
                self._flat[name] = flat
        return np.ndarray(shape, dtype, flat)


def _aligned(size: int, dtype: type) -> NDArray[Any]:
    raw = np.empty(size * np.dtype(dtype).itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(size, dtype, raw, -raw.ctypes.data % ALIGNMENT)


_kept = threading.local()


def thread_buffers() -> BufferPool:
    """The calling thread's pool, which outlasts a call: some systems allocate slowly."""
    if not hasattr(_kept, "pool"):
        _kept.pool = BufferPool()
    pool: BufferPool = _kept.pool
    return pool


class Taps(NamedTuple):
    """Interpolation along one axis: between which bins the pixels from ``first`` on lie.

    Attributes:
        first: index of the first pixel.
        before: intp [n], the bin before each pixel's centre.
        part: float32 [n] in 0…1, fraction of the way from that bin to the next.
    """

    first: int
    before: NDArray[np.intp]
    part: FloatArray


class Shares(NamedTuple):
    """Averaging along one axis: the share of each bin in the pixels from ``first`` on.

    Attributes:
        first: index of the first pixel.
        weights: float32 [n, bins], rows that sum to 1.
    """

    first: int
    weights: FloatArray


Axis = Taps | Shares

Grid = tuple[Axis, Axis]
"""How a ROI's bins map to its pixels, along x and along y."""


def paste_grids(rois_xyxy: FloatArray, bounds: NDArray[np.integer], side: int) -> list[Grid]:
    """The grid of each ROI; all at once, which is faster than one at a time.

    Args:
        rois_xyxy: float [N, 4], source pixels.
        bounds: int [N, 4], the pixels ``x1, y1, x2, y2`` to paste to, end-exclusive.
        side: bins along each side.
    """
    rois = np.asarray(rois_xyxy, np.float64)
    low, high = rois[:, :2].ravel(), rois[:, 2:].ravel()  # x, y, x, y …
    first, last = bounds[:, :2].ravel(), bounds[:, 2:].ravel()
    steps = side / np.maximum(high - low, 1e-6)
    is_fine = (steps > 1) & (last > first)
    lengths = np.where(is_fine, 0, last - first)
    ends = lengths.cumsum()
    starts = ends - lengths
    position = np.arange(0.5, lengths.sum())  # pixel centres of all ROIs and axes, in one array
    position += np.repeat(first - starts, lengths)
    position -= np.repeat(low, lengths)
    position *= np.repeat(steps, lengths)
    position -= 0.5
    np.minimum(np.maximum(position, 0, out=position), side - 1, out=position)
    before = position.astype(np.intp)
    np.minimum(before, max(side - 2, 0), out=before)
    position -= before
    part = position.astype(np.float32)
    axes: list[Axis] = []
    for i, (pixel, start, end, several) in enumerate(
        zip(first.tolist(), starts.tolist(), ends.tolist(), is_fine.tolist(), strict=True)
    ):
        if several:
            axes.append(_shares(side, float(low[i]), float(high[i]), pixel, int(last[i])))
        else:
            axes.append(Taps(pixel, before[start:end], part[start:end]))
    return list(zip(axes[::2], axes[1::2], strict=True))


def _shares(count: int, low: float, high: float, first: int, last: int) -> Shares:
    # All pixels of the ROI, so that rounding does not depend on which of them are pasted to.
    start, stop = min(first, math.floor(low)), max(last, math.ceil(high))
    edges = np.arange(start - low, stop - low + 0.5)
    edges *= count / max(high - low, 1e-6)
    np.minimum(np.maximum(edges, 0, out=edges), count, out=edges)
    return Shares(start, cover_weights(edges, count))


def _interpolate(
    values: FloatArray, taps: Taps, first: int, last: int, name: str, pool: BufferPool
) -> FloatArray:
    """The values [..., M, K] at the pixels ``first`` to ``last``, float32 [..., n, K].

    ``name`` keeps its memory apart from other results that are in use.
    """
    # Two taps by hand: as a product of matrices, BLAS starts threads that fight ONNX Runtime's.
    inside = slice(first - taps.first, last - taps.first)
    before, part = taps.before[inside], taps.part[inside]
    shape = (*values.shape[:-2], len(before), values.shape[-1])
    here, up = pool.array(name, shape), pool.array(name + " up", shape)
    values.take(before, -2, out=here, mode="clip")
    if values.shape[-2] == 1:
        return np.asarray(here)
    steps = pool.array("steps", (*values.shape[:-2], values.shape[-2] - 1, values.shape[-1]))
    np.subtract(values[..., 1:, :], values[..., :-1, :], out=steps)
    steps.take(before, -2, out=up, mode="clip")
    parts = pool.array("parts", here.shape[-2:])  # written out: NumPy broadcasts short rows slowly
    parts[:] = part[:, None]
    up *= parts
    up += here
    return np.asarray(up)


def _paste_columns(
    values: FloatArray, axis: Axis, first: int, last: int, pool: BufferPool
) -> FloatArray:
    """The values [..., M, M] at the pixels ``first`` to ``last`` along x."""
    if isinstance(axis, Shares):
        wide = np.asarray(values @ axis.weights.T, np.float32)
        return wide[..., first - axis.first : last - axis.first]
    rows = values.reshape(-1, values.shape[-1])
    turned: FloatArray = pool.array("turned", rows.shape[::-1])
    cv2.transpose(rows, dst=turned)
    wide = _interpolate(turned, axis, first, last, "columns", pool)
    back: FloatArray = pool.array("wide", wide.shape[::-1])
    cv2.transpose(wide, dst=back)
    return back.reshape(*values.shape[:-1], last - first)


def _paste_rows(
    values: FloatArray, axis: Axis, first: int, last: int, pool: BufferPool
) -> FloatArray:
    """The values [..., M, w] at the pixels ``first`` to ``last`` along y."""
    if isinstance(axis, Taps):
        return _interpolate(values, axis, first, last, "rows", pool)
    tall = np.asarray(axis.weights @ values, np.float32)
    return tall[..., first - axis.first : last - axis.first, :]


def paste_on(values: FloatArray, grid: Grid, bounds: Bounds, pool: BufferPool) -> FloatArray:
    """A ROI's values at some of its pixels, float32 [h, w] or [C, h, w].

    Args:
        values: float32 [M, M] or [C, M, M].
        grid: the ROI's, from ``paste_grids``.
        bounds: a window ``x1, y1, x2, y2`` of the pixels that the grid was made for; not empty.
        pool: working memory; the result is valid until its next use.
    """
    x1, y1, x2, y2 = bounds
    wide = _paste_columns(values, grid[0], x1, x2, pool)
    return _paste_rows(wide, grid[1], y1, y2, pool)


def paste_at(values: FloatArray, roi_xyxy: FloatArray, bounds: Bounds) -> FloatArray:
    """A ROI's values at a window of whole pixels, the inverse of ``geometry.crop_mask``.

    Args:
        values: float32 [M, M] or [C, M, M].
        roi_xyxy: float [4], source pixels, not empty.
        bounds: a window ``x1, y1, x2, y2`` of pixels that the ROI touches, end-exclusive.

    Returns:
        float32 [h, w] or [C, h, w].
    """
    x1, y1, x2, y2 = bounds
    values = np.asarray(values, np.float32)
    if x2 <= x1 or y2 <= y1:
        return np.zeros((*values.shape[:-2], y2 - y1, x2 - x1), np.float32)
    (grid,) = paste_grids(np.asarray(roi_xyxy)[None], np.array([bounds]), values.shape[-1])
    return paste_on(values, grid, bounds, BufferPool())


def paste_window(
    values: FloatArray, roi_xyxy: FloatArray, size_hw: tuple[int, int]
) -> tuple[FloatArray, Bounds]:
    """A ROI's values at all its pixels in the image, and the window that they fill.

    Of values float32 [M, M] or [C, M, M] float32 [h, w] or [C, h, w]; empty for an empty ROI.
    """
    bounds = roi_bounds(roi_xyxy, size_hw)
    return paste_at(values, roi_xyxy, bounds), bounds


def paste_masks(
    targets: NDArray[np.floating],
    rois_xyxy: FloatArray,
    windows: NDArray[np.int64],
    threshold: float = 0.5,
) -> Iterator[NDArray[np.bool_]]:
    """Each person's mask on its own, other ROIs ignored.

    A pixel belongs to it where the interpolated log-odds reach those of the threshold.

    Args:
        targets: [N, M, M] probabilities that a bin belongs to the ROI's person.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers.
        windows: int64 [N, 4] the ROIs' pixels, as of ``geometry.all_roi_bounds``.
        threshold: least probability.

    Yields:
        bool [h, w], the mask at the pixels of the ROI's window, without pixels for an empty window.
    """
    pool = thread_buffers()
    grids = paste_grids(rois_xyxy, windows, targets.shape[-1])
    for target, grid, (x1, y1, x2, y2) in zip(targets, grids, windows.tolist(), strict=True):
        if x2 <= x1 or y2 <= y1:
            yield np.zeros((y2 - y1, x2 - x1), np.bool_)
            continue
        odds = log_odds(target, pool.array("odds", target.shape))
        yield paste_on(odds, grid, (x1, y1, x2, y2), pool) >= cut(threshold)


def paste_mask(
    target: NDArray[np.floating],
    roi_xyxy: FloatArray,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
) -> tuple[NDArray[np.bool_], Bounds]:
    """:func:`paste_masks` of one person [M, M], bool [h, w], and the window that it fills."""
    rois = np.asarray(roi_xyxy)[None]
    windows = all_roi_bounds(rois, size_hw)
    x1, y1, x2, y2 = windows[0].tolist()
    return next(paste_masks(target[None], rois, windows, threshold)), (x1, y1, x2, y2)

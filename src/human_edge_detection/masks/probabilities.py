"""Masks as log-odds: what is interpolated from bins to pixels, and cut at a threshold.

At a person's edge the logits of a head change about evenly from bin to bin, the probabilities in a
step; so the pixels between two bins are told from the logarithm of the odds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.geometry import all_roi_bounds
from human_edge_detection.core.structures import Bounds, FloatArray
from human_edge_detection.masks.buffers import kept_scratch
from human_edge_detection.masks.paste import paste_grids, paste_on

LEAST_PROBABILITY = 1e-3
"""The least that a ROI's word counts as, so that no single bin or ROI has a veto."""

ROUNDING = 5e-6
"""More log-odds than a pixel loses where its parts are added up in float32."""

# Exactly as far from 1 as from 0, so that p and 1 - p are cut at the same place.
_MOST = np.nextafter(np.float32(1 - LEAST_PROBABILITY), np.float32(0))
_LEAST = 1 - _MOST


def log_odds(
    probability: NDArray[np.floating] | float, out: FloatArray | None = None
) -> FloatArray:
    """``log(p / (1 - p))`` float32, of ``p`` cut to ``LEAST_PROBABILITY`` from either end.

    Args:
        probability: in 0…1, any shape.
        out: float32 of that shape to write to.
    """
    sure = np.asarray(np.clip(probability, _LEAST, _MOST, dtype=np.float32))
    rest = 1 - sure
    return np.asarray(np.log(np.divide(sure, rest, out=sure), out=out))


@lru_cache(maxsize=16)
def cut(threshold: float) -> float:
    """The log-odds that a pixel must reach where a probability must reach ``threshold``.

    A threshold beyond what probabilities are cut to acts as the nearest that is not. A pixel whose
    bins all have just that probability reaches it, however its sums were rounded.
    """
    return float(log_odds(threshold)) - ROUNDING


def paste_masks(
    targets: NDArray[np.floating],
    rois_xyxy: FloatArray,
    windows: NDArray[np.int64],
    threshold: float = 0.5,
) -> Iterator[NDArray[np.bool_]]:
    """Each person's mask for itself, as if nobody else were there.

    Args:
        targets: [N, M, M] probabilities that a bin belongs to the ROI's person.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers.
        windows: int64 [N, 4] the ROIs' pixels, as of ``geometry.all_roi_bounds``.
        threshold: least probability.

    Yields:
        bool [h, w], the mask at the pixels of the ROI's window; none for an empty window.
    """
    scratch = kept_scratch()
    grids = paste_grids(rois_xyxy, windows, targets.shape[-1])
    for target, grid, (x1, y1, x2, y2) in zip(targets, grids, windows.tolist(), strict=True):
        if x2 <= x1 or y2 <= y1:
            yield np.zeros((y2 - y1, x2 - x1), np.bool_)
            continue
        odds = log_odds(target, scratch.array("odds", target.shape))
        yield paste_on(odds, grid, (x1, y1, x2, y2), scratch) >= cut(threshold)


def paste_mask(
    target: NDArray[np.floating],
    roi_xyxy: FloatArray,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
) -> tuple[NDArray[np.bool_], Bounds]:
    """:func:`paste_masks` of one person, and the window of the image that it fills.

    Args:
        target: [M, M] probabilities that a bin belongs to the ROI's person.
        roi_xyxy: float32 [4] source pixels, what the mask covers.
        size_hw: the image's height and width.
        threshold: least probability.

    Returns:
        bool [h, w], and ``x1, y1, x2, y2`` whole pixels, empty for a ROI without pixels.
    """
    rois = np.asarray(roi_xyxy)[None]
    windows = all_roi_bounds(rois, size_hw)
    x1, y1, x2, y2 = windows[0].tolist()
    return next(paste_masks(target[None], rois, windows, threshold)), (x1, y1, x2, y2)

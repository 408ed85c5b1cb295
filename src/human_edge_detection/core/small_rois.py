"""Which ROIs are small: those that the lite head's second trunk takes, and how files name them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray


def are_small(rois: Any, small_side: float) -> Any:
    """Whether neither side of each ROI is longer than ``small_side``, bool [N].

    Args:
        rois: float32 [N, 5], an array or a tensor, batch index and xyxy; so is the answer.
        small_side: input pixels; at 0 no ROI is small.
    """
    width, height = rois[:, 3] - rois[:, 1], rois[:, 4] - rois[:, 2]
    return (width <= small_side) & (height <= small_side) & (small_side > 0)


def head_feeds(
    rois: FloatArray, small_side: float
) -> tuple[dict[str, FloatArray], NDArray[np.int64]]:
    """An exported head's inputs for some ROIs, and which ROI each row of its answer belongs to.

    Args:
        rois: float32 [N, 5].
        small_side: what the file says of itself; at 0 there is one input for all ROIs.

    Returns:
        ``rois`` and, if there are two trunks, ``small_rois``; int64 [N].
    """
    if not small_side:
        return {"rois": rois}, np.arange(len(rois))
    small = are_small(rois, small_side)
    order = np.argsort(small, kind="stable")
    return {"rois": rois[~small], "small_rois": rois[small]}, order

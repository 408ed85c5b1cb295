"""Checks of the boxes, scores and ids that a caller hands over, in words that name the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import FloatArray, as_boxes


def check_boxes(boxes_xyxy: object) -> FloatArray:
    """Boxes float32 [N, 4] that are finite and not reversed.

    Raises:
        InputError: naming the first row that is wrong.
    """
    try:
        boxes = as_boxes(boxes_xyxy)
    except (TypeError, ValueError) as error:
        raise InputError(f"boxes are not usable: {error}") from error
    reversed_rows = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if reversed_rows.size:
        row = int(reversed_rows[0])
        raise InputError(
            f"boxes_xyxy[{row}] is reversed: {boxes[row].tolist()} must be x1, y1, x2, y2 with "
            "x1 <= x2 and y1 <= y2 (or are they x, y, width, height?)"
        )
    return boxes


def check_scores(scores: FloatArray | Sequence[float] | None, count: int) -> FloatArray:
    """Scores float32 [count], ones if none are given; ``InputError`` if they do not fit."""
    values = np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise InputError(
            f"scores must be {count} finite numbers, one per box, but got {values.tolist()[:5]}…"
        )
    return values


def check_ids(ids: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Ids as a tuple, empty if none are given; ``InputError`` if they are not ``count``."""
    if ids is not None and len(ids) != count:
        raise InputError(f"ids must be {count}, one per box, but got {len(ids)}")
    return () if ids is None else tuple(int(number) for number in ids)

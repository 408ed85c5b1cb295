"""Says what is wrong with a COCO box or segmentation, at the speed of a million annotations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_HUGE = 2**63
_FAR = 4
"""A polygon that reaches this many times the photo's long side beyond it is a slip."""


def record_fault(record: Mapping[str, Any]) -> str:
    """What is wrong with an annotation's id and area, or nothing: ``""``."""
    for key in ("id", "area"):
        value = record.get(key, 0)
        if not isinstance(value, (int, float)) or not abs(value) < _HUGE:  # so is NaN
            return f"{key} must be a number, but got {value!r}"
    return ""


def box_fault(box: Any, size_hw: tuple[int, int]) -> str:
    """What is wrong with a COCO box ``[x, y, width, height]``, or nothing: ``""``.

    A box may stick out of the image by up to half its area; the reader clips it.
    """
    if not isinstance(box, list) or len(box) != 4:
        return f"bbox must be [x, y, width, height], but got {box}"
    try:
        x, y, width, height = box
        finite = math.isfinite(x + y + width + height)
    except (TypeError, OverflowError):
        finite = False
    if not finite:
        return f"bbox {box} must be finite numbers"
    if width <= 0 or height <= 0:
        return f"bbox {box} has no area"
    inside_w = min(x + width, size_hw[1]) - max(x, 0)
    inside_h = min(y + height, size_hw[0]) - max(y, 0)
    if inside_w <= 0 or inside_h <= 0 or inside_w * inside_h < width * height / 2:
        return f"bbox {box} lies outside the image of {size_hw[1]}x{size_hw[0]} pixels"
    return ""


def shape_fault(shape: Any, size_hw: tuple[int, int]) -> str:
    """What is wrong with a COCO segmentation that is not empty, or nothing: ``""``.

    Nothing is decoded: compressed RLE is only checked to be of the image's size.
    """
    if isinstance(shape, list):
        faults = (_polygon_fault(part, _FAR * max(size_hw)) for part in shape)
        return next((fault for fault in faults if fault), "")
    if not isinstance(shape, dict) or "counts" not in shape or "size" not in shape:
        return "segmentation is neither polygons nor RLE"
    if shape["size"] != list(size_hw):
        return f"RLE of size {shape['size']} in an image of size {list(size_hw)}"
    counts = shape["counts"]
    if not isinstance(counts, list):
        return "" if isinstance(counts, str) else "RLE counts are neither a list nor text"
    if not all(isinstance(count, int) for count in counts):
        return "RLE counts are not all whole numbers"
    total = size_hw[0] * size_hw[1]
    return "" if sum(counts) == total else f"RLE counts sum to {sum(counts)}, not {total}"


def _polygon_fault(part: Any, far: float) -> str:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        return "a polygon needs at least three x, y pairs"
    try:  # a sum shows NaN and text, the extremes show slips; both run at C speed
        sound = math.isfinite(sum(part)) and -far < min(part) and max(part) < far
    except (TypeError, OverflowError):
        sound = False
    return "" if sound else "a polygon has corners that are no numbers or far outside the image"

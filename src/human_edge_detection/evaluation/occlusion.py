"""Puts one person in front of another, covering just as much of them as was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import ImageArray
from human_edge_detection.evaluation.metrics import BoolArray

POSITIONS = 120
"""Places tried across a person, from just beside to just past."""

LEAST_SHOWN = 0.5
"""Part of the person in front that must lie inside the photo."""


@dataclass(frozen=True)
class Cutout:
    """A person cut out of a photo.

    Attributes:
        pixels: uint8 [h, w, 3] RGB.
        mask: bool [h, w], reaching all four sides.
    """

    pixels: ImageArray
    mask: BoolArray

    def scaled(self, factor: float) -> Cutout:
        """The same person larger or smaller."""
        height, width = (max(1, round(side * factor)) for side in self.mask.shape)
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(self.pixels, (width, height), interpolation=how)
        soft = cv2.resize(self.mask.astype(np.float32), (width, height), interpolation=how)
        return Cutout(np.asarray(pixels, np.uint8), np.asarray(soft >= 0.5))

    def mirrored(self) -> Cutout:
        """The same person's mirror image."""
        return Cutout(
            np.ascontiguousarray(self.pixels[:, ::-1]), np.ascontiguousarray(self.mask[:, ::-1])
        )


def cut_person(image: ImageArray, mask: BoolArray) -> Cutout:
    """The person of a mask bool [H, W] that is not empty, cut out of the photo."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return Cutout(image[window].copy(), mask[window].copy())


def placed(mask: NDArray[np.generic], left: int, top: int, size_hw: tuple[int, int]) -> BoolArray:
    """A cutout's mask at its place in a photo, bool [H, W]; what lies outside is cut off."""
    canvas = np.zeros(size_hw, np.bool_)
    source, target = _windows((mask.shape[0], mask.shape[1]), left, top, size_hw)
    canvas[target] = mask[source]
    return canvas


def find_places(
    cutout: Cutout, behind: BoolArray, top: int, covers: Sequence[float], from_left: bool
) -> list[int] | None:
    """Where a cutout must stand to cover each part of a person, as its left edge.

    Args:
        cutout: the person in front.
        behind: bool [H, W], the person to be covered.
        top: the cutout's upper edge, pixels.
        covers: parts 0…1 of the person to cover, rising; 0 for standing right beside.
        from_left: come from the left side.

    Returns:
        The left edges, or None if a part cannot be reached to within 0.04 or the cutout would
        leave the photo.
    """
    columns = np.flatnonzero(behind.any(axis=0))
    first, last = int(columns[0]) - cutout.mask.shape[1], int(columns[-1]) + 1
    lefts = np.unique(np.linspace(first, last, POSITIONS).round().astype(int))
    lefts = lefts if from_left else lefts[::-1]
    parts = np.array([covered_part(cutout, behind, int(left), top) for left in lefts])
    rising = slice(0, int(parts.argmax()) + 1)
    found = []
    for cover in covers:
        error = np.abs(parts[rising] - cover)
        # Of the places that cover nothing, the nearest one: the last before they touch.
        best = int(len(error) - 1 - error[::-1].argmin()) if cover == 0 else int(error.argmin())
        left = int(lefts[rising][best])
        inside = placed(cutout.mask, left, top, (behind.shape[0], behind.shape[1])).sum()
        if error[best] > 0.04 or inside < LEAST_SHOWN * cutout.mask.sum():
            return None
        found.append(left)
    return found


def covered_part(cutout: Cutout, behind: BoolArray, left: int, top: int) -> float:
    """The part of a person that a cutout covers when its corner stands at ``left, top``."""
    shape = (cutout.mask.shape[0], cutout.mask.shape[1])
    source, target = _windows(shape, left, top, (behind.shape[0], behind.shape[1]))
    shared = int(np.count_nonzero(cutout.mask[source] & behind[target]))
    return shared / max(1, int(np.count_nonzero(behind)))


def paste_person(image: ImageArray, cutout: Cutout, left: int, top: int) -> ImageArray:
    """The photo with a cutout in front, its edge softened by a pixel."""
    result = image.copy()
    shape = (cutout.mask.shape[0], cutout.mask.shape[1])
    source, target = _windows(shape, left, top, (image.shape[0], image.shape[1]))
    inner = cv2.erode(np.pad(cutout.mask.astype(np.uint8), 1), np.ones((3, 3), np.uint8))
    alpha = (cutout.mask + inner[1:-1, 1:-1].astype(np.float32))[source][..., None] / 2
    mixed = alpha * cutout.pixels[source] + (1 - alpha) * result[target]
    result[target] = mixed.round().astype(np.uint8)
    return result


def _windows(
    shape: tuple[int, int], left: int, top: int, size_hw: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a cutout inside a photo, and the part of the photo that it fills."""
    x1, y1 = max(0, left), max(0, top)
    x2, y2 = max(x1, min(size_hw[1], left + shape[1])), max(y1, min(size_hw[0], top + shape[0]))
    source = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
    return source, (slice(y1, y2), slice(x1, x2))

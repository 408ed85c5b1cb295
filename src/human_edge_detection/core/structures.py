"""The plain data that stages hand to each other. Depends on NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
ImageArray = NDArray[np.uint8]

LabelMap = NDArray[np.int32]
"""The owner of every pixel [H, W]: 0 background, ``i + 1`` person ``i``."""

Bounds = tuple[int, int, int, int]
"""A window ``x1, y1, x2, y2`` of whole pixels, end-exclusive."""

IGNORE_INDEX = 255
"""Label of a pixel of unknown class; losses and metrics leave it out."""

NOT_TARGET_INDEX = 254
"""Label of a pixel that is not the target's: background or another person, not known which."""


class MaskClass(IntEnum):
    """The three classes of a ROI's pixels, in the order of the logits' channels."""

    BACKGROUND = 0
    TARGET = 1
    NON_TARGET = 2


def stacked(arrays: Sequence[FloatArray], size: int | None = None) -> FloatArray:
    """Arrays [1, …] of several photos as one [B, …]; a single one is not copied.

    Args:
        arrays: at least one.
        size: B, filled up with zeros; None for the number of arrays.
    """
    missing = (size or len(arrays)) - sum(map(len, arrays))
    parts = [*arrays, np.zeros((missing, *arrays[0].shape[1:]), np.float32)] if missing else arrays
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def as_boxes(boxes_xyxy: object, name: str = "boxes_xyxy") -> FloatArray:
    """Boxes as a finite float32 array [N, 4].

    Raises:
        ValueError: if the shape is not [N, 4] or a coordinate is not finite.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape [N, 4], but got {list(boxes.shape)}")
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if bad.size:
        row = int(bad[0])
        raise ValueError(f"{name}[{row}] must be finite, but got {boxes[row].tolist()}")
    return boxes


@dataclass(frozen=True)
class Detections:
    """People found in one image.

    Attributes:
        boxes_xyxy: float32 [N, 4], end-exclusive, source pixels.
        scores: float32 [N] in 0…1; ones if none are given.

    Raises:
        ValueError: if a shape is another or a coordinate is not finite.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes_xyxy)
        scores = np.asarray(self.scores, np.float32)
        if scores.size == 0:
            scores = np.ones(len(boxes), np.float32)
        if scores.shape != (len(boxes),):
            raise ValueError(f"scores must have shape [{len(boxes)}], but got {list(scores.shape)}")
        object.__setattr__(self, "boxes_xyxy", boxes)
        object.__setattr__(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.boxes_xyxy)


@dataclass(frozen=True)
class BoxTargets:
    """The boxes that a person detector should find in one prepared photo.

    Attributes:
        boxes: float32 [P, 4] xyxy, input pixels: the people to find.
        ignored: float32 [Q, 4] regions that do not count (crowds, people cut off).
        exhaustive: False if people without any annotation may stand in the photo.
    """

    boxes: FloatArray
    ignored: FloatArray
    exhaustive: bool = True


@dataclass(frozen=True)
class RoiSample:
    """One prepared photo with its ROIs, as training and validation use it.

    Attributes:
        image: uint8 [H, W, 3] RGB, letterboxed to the network's input; [0, 0, 3] where the
            features are cached.
        rois: float32 [N, 4] xyxy in input pixels (padded boxes, clipped to the photo).
        targets: uint8 [N, M, M] labels 0/1/2, ``NOT_TARGET_INDEX`` or ``IGNORE_INDEX``.
        person_ids: int64 [N] annotation ids of the target people.
        photo_index: position of the photo in its data set.
        is_mirrored: whether the image is the photo's mirror image.
        people: boxes for a detector; None where none is trained.
    """

    image: ImageArray
    rois: FloatArray
    targets: NDArray[np.uint8]
    person_ids: NDArray[np.int64]
    photo_index: int
    is_mirrored: bool = False
    people: BoxTargets | None = None


Infer = Callable[[Sequence[RoiSample]], FloatArray]
"""Logits float32 [ΣN, 3, M, M] of the ROIs of some prepared photos, in their order."""

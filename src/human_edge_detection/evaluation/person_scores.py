"""How well one person was cut out, and what makes that person easy or hard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.evaluation.metrics import (
    BoolArray,
    IntArray,
    boundary_iou,
    class_ious,
    image_iou,
)

Rle = dict[str, Any]
"""``size`` [height, width] and ``counts``, COCO's compressed run lengths as text."""

EDGE_MARGIN = 2.0
"""Pixels from the image's edge within which a box counts as truncated by it."""


@dataclass(frozen=True)
class PersonScore:
    """One annotated person and how the predicted mask compares.

    Attributes:
        photo_id: the photo's id in the annotation file.
        person_id: the annotation's id.
        box_xyxy: float32 [4], source pixels.
        area: annotated area, square source pixels.
        overlap: largest box IoU with another annotated person of the photo.
        is_truncated: whether the box reaches the image's edge.
        iou: mask IoU at source resolution, 0 for a person that was missed.
        boundary_iou: Boundary IoU at source resolution.
        confusion: int64 [3, 3] pixel counts at 56×56, row the true class.
        mask_rle: the predicted mask as COCO's compressed RLE.
        roi_xyxy: float32 [4], the region that ``labels`` covers, source pixels.
        labels: uint8 [M, M], the predicted classes.
    """

    photo_id: int
    person_id: int
    box_xyxy: FloatArray
    area: float
    overlap: float
    is_truncated: bool
    iou: float
    boundary_iou: float
    confusion: IntArray
    mask_rle: Rle
    roi_xyxy: FloatArray
    labels: NDArray[np.uint8]

    @property
    def min_side(self) -> float:
        """The box's shorter side, source pixels."""
        return float((self.box_xyxy[2:] - self.box_xyxy[:2]).min())

    @property
    def iou_roi(self) -> float:
        """Target-class IoU at 56×56; NaN where the ROI has no target pixel."""
        return float(class_ious(self.confusion)[MaskClass.TARGET])

    @property
    def has_non_target(self) -> bool:
        """Whether somebody else's pixels lie in the ROI."""
        return bool(self.confusion[MaskClass.NON_TARGET].sum())


def nearest_overlap(person: Person, photo: Photo) -> float:
    """Largest box IoU of a person with any other single person of the photo, 0 when alone."""
    others = [p.box_xyxy for p in photo.people if p.id != person.id and not p.is_crowd]
    if not others:
        return 0.0
    return float(box_iou(person.box_xyxy[None], np.stack(others)).max())


def reaches_edge(box_xyxy: FloatArray, size_hw: tuple[int, int]) -> bool:
    """Whether a box comes within ``EDGE_MARGIN`` pixels of the image's edge."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    height, width = size_hw
    return min(x1, y1, width - x2, height - y2) < EDGE_MARGIN


def score_person(
    photo: Photo,
    person: Person,
    truth: BoolArray,
    predicted: BoolArray,
    confusion: IntArray,
    roi_xyxy: FloatArray,
    labels: NDArray[np.uint8],
) -> PersonScore:
    """The score of one person from the true and predicted masks, bool [H, W], source frame.

    ``confusion``, ``roi_xyxy`` and ``labels`` are kept as :class:`PersonScore` describes them.
    """
    return PersonScore(
        photo_id=photo.id,
        person_id=person.id,
        box_xyxy=person.box_xyxy,
        area=person.area,
        overlap=nearest_overlap(person, photo),
        is_truncated=reaches_edge(person.box_xyxy, photo.size_hw),
        iou=image_iou(predicted, truth),
        boundary_iou=boundary_iou(predicted, truth),
        confusion=confusion,
        mask_rle=encode_mask(predicted),
        roi_xyxy=np.asarray(roi_xyxy, np.float32),
        labels=labels,
    )


def encode_mask(mask: BoolArray) -> Rle:
    """COCO's compressed RLE of a bool mask [H, W]; ``counts`` is text, so that JSON takes it."""
    rle = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: Rle) -> BoolArray:
    """The bool mask [H, W] of a compressed RLE."""
    return np.asarray(mask_api.decode(rle), np.bool_)

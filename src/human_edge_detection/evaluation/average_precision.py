"""COCO's average precision and recall for people, by faster-coco-eval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import pixel_bounds
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.evaluation.predictions import Predictions

LOG = logging.getLogger(__name__)

KINDS = {"segm": "mask", "boundary": "boundary", "bbox": "box"}
"""What an IoU is taken of, by COCO's name, and how tables call it."""

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers, in COCO's order."""

CATEGORY = {"id": 1, "name": "person"}


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision against recall at one IoU threshold: two float64 [101]; NaN without people."""

    iou: float
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's numbers for one kind of IoU; NaN where no person is of that size."""

    kind: str
    stats: dict[str, float]
    curves: tuple[PrecisionCurve, ...]


def average_precision(
    photos: Sequence[Photo], predictions: Predictions, kind: str = "segm"
) -> AveragePrecision:
    """COCO's numbers of scored predictions for the people of some photos.

    Crowd regions, and the boxes of people without a mask, count neither for nor against.

    Raises:
        InputError: if faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise InputError("AP needs faster-coco-eval: pip install faster-coco-eval") from error
    results = to_results(predictions)
    truth = COCO(to_ground_truth(photos))
    if not results:
        return AveragePrecision(kind, dict.fromkeys(STATS, 0.0), ())
    found = COCOeval_faster(truth, truth.loadRes(results), kind, print_function=LOG.debug)
    found.evaluate()
    found.accumulate()
    found.summarize()
    stats = {name: _known(value) for name, value in zip(STATS, found.stats, strict=True)}
    return AveragePrecision(kind, stats, _curves(found))


def to_ground_truth(photos: Sequence[Photo]) -> dict[str, Any]:
    """The people of some photos as the content of a COCO annotation file."""
    images = [
        {"id": p.id, "file_name": p.file_name, "height": p.size_hw[0], "width": p.size_hw[1]}
        for p in photos
    ]
    people = [_annotation(person, photo) for photo in photos for person in photo.people]
    return {"info": {}, "images": images, "annotations": people, "categories": [CATEGORY]}


def to_results(predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions as the content of a COCO results file."""
    return [
        {
            "image_id": photo_id,
            "category_id": CATEGORY["id"],
            "bbox": _xywh(item.box_xyxy),
            "score": item.score,
            "segmentation": dict(item.rle),
            **({} if item.person_id is None else {"annotation_id": item.person_id}),
        }
        for photo_id, items in predictions.items()
        for item in items
    ]


def _annotation(person: Person, photo: Photo) -> dict[str, Any]:
    shape = person.segmentation
    if shape is None:
        mask = np.zeros(photo.size_hw, np.bool_)
        x1, y1, x2, y2 = pixel_bounds(person.box_xyxy, photo.size_hw)
        mask[y1:y2, x1:x2] = True
        shape = encode_mask(mask)
    return {
        "id": person.id,
        "image_id": photo.id,
        "category_id": CATEGORY["id"],
        "iscrowd": int(person.is_crowd or not person.has_mask),
        "bbox": _xywh(person.box_xyxy),
        "area": person.area,
        "segmentation": shape,
    }


def _xywh(box_xyxy: NDArray[np.float32]) -> list[float]:
    x1, y1, x2, y2 = (round(float(value), 3) for value in box_xyxy)
    return [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]


def _known(value: float) -> float:
    return float(value) if value >= 0 else float("nan")


def _curves(found: Any) -> tuple[PrecisionCurve, ...]:
    params = found.params
    curves = []
    for iou in (0.5, 0.75):
        threshold = int(np.argmin(np.abs(np.asarray(params.iouThrs) - iou)))
        values = np.asarray(found.eval["precision"])[threshold, :, 0, 0, -1]
        precision = np.where(values < 0, np.nan, values)
        curves.append(PrecisionCurve(iou, np.asarray(params.recThrs), precision))
    return tuple(curves)

"""People and predictions in COCO's terms: data sets, results, average precision.

Masks are compressed RLE, so that holes and single pixels survive; FiftyOne, supervision and CVAT
read them. ``file_name`` is the annotations' own, so the photos' folder serves unchanged. Average
precision is computed by faster-coco-eval.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.geometry import pixel_bounds
from human_edge_detection.core.rle import Rle, encode_mask
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.predictions import Predictions

LOG = logging.getLogger(__name__)

PERSON = {"id": 1, "name": "person"}
TRUE_PERSON = {"id": 2, "name": "person (ground truth)"}
FAILURE_IOU = 0.5
"""Mask IoU below which a person counts as a failure."""

Json = dict[str, Any]


def write_handover(folder: Path, photos: Sequence[Photo], scores: Sequence[PersonScore]) -> None:
    """Write ``results.json``, ``predictions_coco.json`` and ``failures_coco.json``."""
    _write(folder / "results.json", results(scores))
    _write(folder / "predictions_coco.json", prediction_dataset(photos, scores))
    _write(folder / "failures_coco.json", failure_dataset(photos, scores))


def results(scores: Sequence[PersonScore]) -> list[Json]:
    """COCO results, one per person that has a mask, prompted by the annotated boxes.

    Beside COCO's keys: ``annotation_id`` of the box that was the prompt, and ``bins``, the
    predicted labels of the ROI as run lengths of each class of person.
    """
    return [
        {
            **_result(score.photo_id, score.box_xyxy, 1.0, score.mask_rle, score.person_id),
            "bins": {
                "roi_xyxy": [float(value) for value in score.roi_xyxy],
                "target": encode_mask(np.asarray(score.labels == MaskClass.TARGET)),
                "non_target": encode_mask(np.asarray(score.labels == MaskClass.NON_TARGET)),
            },
        }
        for score in scores
    ]


def prediction_dataset(photos: Sequence[Photo], scores: Iterable[PersonScore]) -> Json:
    """The predicted masks as a COCO data set; each annotation has its ``iou``.

    People without a predicted pixel are left out: tools refuse boxes without a size.
    """
    images = to_ground_truth(photos)["images"]
    found = [score for score in scores if mask_api.area(score.mask_rle)]
    annotations = [_prediction(number, score) for number, score in enumerate(found, start=1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": [PERSON]}


def failure_dataset(photos: Sequence[Photo], scores: Sequence[PersonScore]) -> Json:
    """The people below ``FAILURE_IOU``: predicted and true mask, as two categories."""
    failed = {score.person_id: score for score in scores if score.iou < FAILURE_IOU}
    shown = {score.photo_id for score in failed.values()}
    kept = [photo for photo in photos if photo.id in shown]
    data = prediction_dataset(kept, failed.values())
    truth = to_ground_truth(kept)["annotations"]
    for record in (item for item in truth if item["id"] in failed):
        number = len(data["annotations"]) + 1
        own = {"id": number, "category_id": TRUE_PERSON["id"], "person_id": record["id"]}
        data["annotations"].append({**record, **own})
    data["categories"] = [PERSON, TRUE_PERSON]
    return data


def _prediction(number: int, score: PersonScore) -> Json:
    return {
        "id": number,
        "image_id": score.photo_id,
        "category_id": PERSON["id"],
        "iscrowd": 0,
        "bbox": [float(value) for value in mask_api.toBbox(score.mask_rle)],
        "area": int(mask_api.area(score.mask_rle)),
        "segmentation": score.mask_rle,
        "person_id": score.person_id,
        "iou": round(score.iou, 5),
        "boundary_iou": round(score.boundary_iou, 5),
    }


def _write(path: Path, content: object) -> None:
    write_atomically(path, json.dumps(content).encode())


def to_ground_truth(photos: Sequence[Photo]) -> dict[str, Any]:
    """The people of some photos as the content of a COCO annotation file."""
    images = [
        {"id": p.id, "file_name": p.file_name, "height": p.size_hw[0], "width": p.size_hw[1]}
        for p in photos
    ]
    people = [_annotation(person, photo) for photo in photos for person in photo.people]
    return {"info": {}, "images": images, "annotations": people, "categories": [PERSON]}


def to_results(predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions as the content of a COCO results file."""
    return [
        _result(photo_id, item.box_xyxy, item.score, dict(item.rle), item.person_id)
        for photo_id, items in predictions.items()
        for item in items
    ]


def _result(
    photo_id: int, box_xyxy: FloatArray, score: float, rle: Rle, person_id: int | None
) -> Json:
    return {
        "image_id": photo_id,
        "category_id": PERSON["id"],
        "bbox": _xywh(box_xyxy),
        "score": score,
        "segmentation": rle,
        **({} if person_id is None else {"annotation_id": person_id}),
    }


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
        "category_id": PERSON["id"],
        "iscrowd": int(person.is_crowd or not person.has_mask),
        "bbox": _xywh(person.box_xyxy),
        "area": person.area,
        "segmentation": shape,
    }


def _xywh(box_xyxy: FloatArray) -> list[float]:
    x1, y1, x2, y2 = (round(float(value), 3) for value in box_xyxy)
    return [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]


KINDS = {"segm": "mask", "boundary": "boundary", "bbox": "box"}
"""What an IoU compares: COCO's name and the name in tables."""

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve numbers, in COCO's order."""


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision at recall 0, 0.01 … 1 and one IoU threshold, float64 [101]; NaN without people."""

    iou: float
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


def _known(value: float) -> float:
    return float(value) if value >= 0 else float("nan")


def _curves(found: Any) -> tuple[PrecisionCurve, ...]:
    curves = []
    for iou in (0.5, 0.75):
        threshold = int(np.argmin(np.abs(np.asarray(found.params.iouThrs) - iou)))
        values = np.asarray(found.eval["precision"])[threshold, :, 0, 0, -1]
        precision = np.where(values < 0, np.nan, values)
        curves.append(PrecisionCurve(iou, precision))
    return tuple(curves)

"""Hands scored predictions to other tools: COCO results, and COCO data sets to look through.

Masks are compressed RLE, so that holes and single pixels survive; FiftyOne, supervision and CVAT
read them. ``file_name`` is the annotations' own, so the photos' folder serves unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.core.structures import MaskClass
from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.average_precision import to_ground_truth
from human_edge_detection.evaluation.evaluate import PersonScore

FAILURE_IOU = 0.5
"""Mask IoU below which a person counts as a failure."""

PREDICTED = {"id": 1, "name": "person"}
TRUE = {"id": 2, "name": "person (ground truth)"}

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
            "image_id": score.photo_id,
            "annotation_id": score.person_id,
            "category_id": PREDICTED["id"],
            "bbox": _xywh(score),
            "score": 1.0,
            "segmentation": score.mask_rle,
            "bins": {
                "roi_xyxy": [float(value) for value in score.roi_xyxy],
                "target": encode_mask(np.asarray(score.labels == MaskClass.TARGET)),
                "non_target": encode_mask(np.asarray(score.labels == MaskClass.NON_TARGET)),
            },
        }
        for score in scores
    ]


def prediction_dataset(photos: Sequence[Photo], scores: Iterable[PersonScore]) -> Json:
    """The predicted masks as a COCO data set; each annotation tells its ``iou``.

    People of whom nothing was predicted are left out: tools refuse boxes without a size.
    """
    images = to_ground_truth(photos)["images"]
    found = [score for score in scores if mask_api.area(score.mask_rle)]
    annotations = [_prediction(number, score) for number, score in enumerate(found, start=1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": [PREDICTED]}


def failure_dataset(photos: Sequence[Photo], scores: Sequence[PersonScore]) -> Json:
    """The people below ``FAILURE_IOU``: predicted and true mask, as two categories."""
    failed = {score.person_id: score for score in scores if score.iou < FAILURE_IOU}
    shown = {score.photo_id for score in failed.values()}
    kept = [photo for photo in photos if photo.id in shown]
    data = prediction_dataset(kept, failed.values())
    truth = to_ground_truth(kept)["annotations"]
    for record in (item for item in truth if item["id"] in failed):
        number = len(data["annotations"]) + 1
        own = {"id": number, "category_id": TRUE["id"], "person_id": record["id"]}
        data["annotations"].append({**record, **own})
    data["categories"] = [PREDICTED, TRUE]
    return data


def _prediction(number: int, score: PersonScore) -> Json:
    return {
        "id": number,
        "image_id": score.photo_id,
        "category_id": PREDICTED["id"],
        "iscrowd": 0,
        "bbox": [float(value) for value in mask_api.toBbox(score.mask_rle)],
        "area": int(mask_api.area(score.mask_rle)),
        "segmentation": score.mask_rle,
        "person_id": score.person_id,
        "iou": round(score.iou, 5),
        "boundary_iou": round(score.boundary_iou, 5),
    }


def _xywh(score: PersonScore) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in score.box_xyxy)
    return [x1, y1, x2 - x1, y2 - y1]


def _write(path: Path, content: object) -> None:
    write_atomically(path, json.dumps(content).encode())

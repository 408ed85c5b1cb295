"""A tiny annotated set and scores of made-up people, for the tests of validation and report."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection.core.rle import encode_mask
from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.metrics import IntArray

BOXES = [[(8, 8, 40, 88), (30, 10, 60, 90)], [(20, 4, 70, 60)], [(0, 0, 30, 30), (50, 50, 90, 94)]]
"""Rectangular people x1, y1, x2, y2 of three photos of 96×96 pixels; the first hide the later."""


def write_people_set(folder: Path) -> Path:
    """Write three photos and their annotations; the annotation file's path comes back."""
    content: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    rng = np.random.default_rng(0)
    for number, boxes in enumerate(BOXES, start=1):
        image = rng.integers(0, 90, (96, 96, 3), np.uint8)
        free = np.ones((96, 96), bool)
        for x1, y1, x2, y2 in boxes:
            mask = np.zeros((96, 96), bool)
            mask[y1:y2, x1:x2] = True
            mask &= free
            free &= ~mask
            image[mask] = rng.integers(120, 255, 3, np.uint8)
            rows, columns = np.nonzero(mask)
            corner = (int(columns.min()), int(rows.min()))
            size = (int(columns.max()) + 1 - corner[0], int(rows.max()) + 1 - corner[1])
            content["annotations"].append(
                {
                    "id": 100 + len(content["annotations"]),
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [*corner, *size],
                    "area": int(mask.sum()),
                    "segmentation": encode_mask(mask),
                }
            )
        name = f"photo_{number}.png"
        cv2.imwrite(str(folder / name), image[:, :, ::-1])
        record = {"id": number, "file_name": name, "width": 96, "height": 96}
        content["images"].append(record)
    path = folder / "people.json"
    path.write_text(json.dumps(content))
    return path


def matrix(background: int, target: int, non_target: int, swapped: int = 0) -> IntArray:
    """A confusion matrix with right pixels on its diagonal, and targets given to others."""
    counts = np.diag([background, target, non_target]).astype(np.int64)
    counts[1, 2] = swapped
    return counts


def made_up_score(
    photo_id: int,
    person_id: int,
    iou: float,
    *,
    confusion: IntArray | None = None,
    side: float = 40.0,
    overlap: float = 0.0,
    is_truncated: bool = False,
) -> PersonScore:
    """The score of a square person of a photo of 96×96 pixels."""
    mask = np.zeros((96, 96), bool)
    mask[8 : 8 + round(side), 8 : 8 + round(side)] = True
    box = np.array([8, 8, 8 + side, 8 + side], np.float32)
    return PersonScore(
        photo_id=photo_id,
        person_id=person_id,
        box_xyxy=box,
        area=side * side,
        overlap=overlap,
        is_truncated=is_truncated,
        iou=iou,
        boundary_iou=iou / 2,
        confusion=matrix(10, 10, 0) if confusion is None else confusion,
        mask_rle=encode_mask(mask),
        roi_xyxy=box,
        labels=np.ones((8, 8), np.uint8),
    )

"""The stress set covers what it says, with exact masks, the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.predictions import Prediction, evaluate_predictions
from human_edge_detection.evaluation.stress_curve import stress_curve
from human_edge_detection.evaluation.stress_set import COVERS, write_stress_set


def write_lone_people(folder: Path, side: int) -> list[Photo]:
    """Four photos of one upright rectangle each."""
    images, people = [], []
    for number in range(1, 5):
        mask = np.zeros((200, 320), bool)
        mask[60 : 60 + 2 * side, 120 : 120 + side] = True
        image = np.full((200, 320, 3), 40 * number, np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": 200, "width": 320})
        record = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0}
        box = [120, 60, side, 2 * side]
        people.append(record | {"bbox": box, "area": 1, "segmentation": encode_mask(mask)})
    path = folder / "lone.json"
    categories = [{"id": 1, "name": "person"}]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    return load_photos(path, folder)[0]


def test_the_parts_are_covered_as_said(tmp_path: Path) -> None:
    path = write_stress_set(write_lone_people(tmp_path, 50), tmp_path / "stress", pairs=2)
    data = COCO(str(path))
    assert len(data.imgs) == 2 * len(COVERS)
    for image_id in data.imgs:
        records = data.loadAnns(data.getAnnIds([image_id]))
        masks = {record["role"]: data.annToMask(record).astype(bool) for record in records}
        assert not (masks["front"] & masks["behind"]).any()
        shown = masks["behind"].sum() / (50 * 100)
        assert 1 - shown == pytest.approx(records[0]["covered"], abs=0.05)
        assert (tmp_path / "stress" / data.imgs[image_id]["file_name"]).is_file()


def test_the_same_seed_gives_the_same_set(tmp_path: Path) -> None:
    photos = write_lone_people(tmp_path, 50)
    first, second, third = (
        write_stress_set(photos, tmp_path / str(i), 2, seed).read_bytes()
        for i, seed in enumerate((1, 1, 2))
    )
    assert first == second
    assert first != third


def test_the_curve_tells_roles_and_parts_apart(tmp_path: Path) -> None:
    path = write_stress_set(write_lone_people(tmp_path, 50), tmp_path / "stress", pairs=2)
    photos, _ = load_photos(path, path.parent)
    fronts: dict[int, list[Prediction]] = {}
    for photo in photos:
        front = photo.people[0]
        rle = front.segmentation
        assert isinstance(rle, dict)
        fronts[photo.id] = [Prediction(rle, front.box_xyxy, person_id=front.id)]
    curve = stress_curve(path, evaluate_predictions(photos, fronts).scores, rounds=20)
    assert len(curve) == 2 * len(COVERS)
    for point in curve:
        assert point.iou.value == (1.0 if point.role == "front" else 0.0)


def test_people_too_small_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can be combined"):
        write_stress_set(write_lone_people(tmp_path, 20), tmp_path / "stress", pairs=2)

"""What is handed over loads in other tools and holds the very masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from human_edge_detection.core.rle import decode_rle, encode_mask
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.coco import write_handover
from human_edge_detection.evaluation.evaluate import PersonScore
from human_edge_detection.evaluation.predictions import (
    Prediction,
    evaluate_predictions,
    read_predictions,
)
from people_set import write_people_set

Scored = tuple[Path, list[Photo], tuple[PersonScore, ...]]


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    """A hand-over of ring-shaped predictions; the last person was missed."""
    photos, _ = load_photos(write_people_set(tmp_path), tmp_path)
    predictions: dict[int, list[Prediction]] = {}
    for photo in photos:
        for person in photo.people:
            mask = decode_mask(person, photo.size_hw)
            rows, columns = np.nonzero(mask)
            mask[rows.mean().astype(int) - 2 :, columns.mean().astype(int)] = False
            rle = encode_mask(mask)
            predictions.setdefault(photo.id, []).append(
                Prediction(rle, person.box_xyxy, person_id=person.id)
            )
    predictions[photos[-1].id].pop()
    evaluation = evaluate_predictions(photos, predictions)
    folder = tmp_path / "out"
    write_handover(folder, photos, evaluation.scores)
    return folder, photos, evaluation.scores


def test_supervision_loads_it(scored: Scored) -> None:
    supervision = pytest.importorskip("supervision")
    folder, photos, scores = scored
    data = supervision.DetectionDataset.from_coco(
        str(photos[0].image_dir), str(folder / "predictions_coco.json"), force_masks=True
    )
    assert len(data) == len(photos)
    loaded = {Path(path).name: found for path, _, found in data}
    for photo in photos:
        own = [s for s in scores if s.photo_id == photo.id and s.iou > 0]
        masks = np.stack([decode_rle(score.mask_rle) for score in own])
        np.testing.assert_array_equal(loaded[photo.file_name].mask, masks)


def test_pycocotools_loads_it_with_sound_boxes(scored: Scored) -> None:
    folder, photos, _ = scored
    for name in ("predictions_coco.json", "failures_coco.json"):
        data = COCO(str(folder / name))
        for record in data.anns.values():
            x, y, width, height = record["bbox"]
            assert width > 0 and height > 0
            rows, columns = np.nonzero(data.annToMask(record))
            assert (columns.min(), rows.min()) == (x, y) or record["category_id"] == 2
            assert data.imgs[record["image_id"]]["file_name"].startswith("photo_")
    assert photos


def test_failures_show_the_truth_of_who_was_missed(scored: Scored) -> None:
    folder, photos, _ = scored
    data = json.loads((folder / "failures_coco.json").read_text())
    missed = photos[-1].people[-1].id
    assert [(a["category_id"], a["person_id"]) for a in data["annotations"]] == [(2, missed)]
    assert [image["id"] for image in data["images"]] == [photos[-1].id]
    assert {c["id"]: c["name"] for c in data["categories"]}[2] == "person (ground truth)"


def test_results_can_be_scored_again(scored: Scored) -> None:
    folder, photos, scores = scored
    again = evaluate_predictions(photos, read_predictions(folder / "results.json", photos))
    assert [s.iou for s in again.scores] == [s.iou for s in scores]

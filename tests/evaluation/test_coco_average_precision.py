"""AP agrees with pycocotools on the same file, and our Boundary IoU with faster-coco-eval's."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core.mask import rleToBoundary
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from human_edge_detection.core.rle import decode_rle, encode_mask
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.coco import (
    STATS,
    average_precision,
    to_ground_truth,
    to_results,
)
from human_edge_detection.evaluation.metrics import boundary_iou
from human_edge_detection.evaluation.predictions import Prediction, Predictions
from people_set import write_people_set


def spoiled(photos: list[Photo], seed: int = 0) -> Predictions:
    """The true masks shifted, some lost, some false, with scores that know it only in part."""
    rng = np.random.default_rng(seed)
    found: Predictions = {}
    for photo in photos:
        items = found.setdefault(photo.id, [])
        for person in photo.people:
            if not person.is_target or rng.random() < 0.1:
                continue
            limit = max(2, int(0.15 * person.area**0.5))
            shift = tuple(int(v) for v in rng.integers(-limit, limit, 2, endpoint=True))
            mask = np.roll(decode_mask(person, photo.size_hw), shift, (0, 1))
            score = float(rng.uniform(0.3, 1) - sum(map(abs, shift)) / 400)
            items.append(Prediction(encode_mask(mask), person.box_xyxy, score))
            if rng.random() < 0.1:
                false = np.zeros_like(mask)
                false[10:40, 10:30] = True
                box = np.array([10, 10, 30, 40], np.float32)
                items.append(Prediction(encode_mask(false), box, float(rng.uniform(0, 0.6))))
    return found


def reference(photos: list[Photo], predictions: Predictions, kind: str) -> dict[str, float]:
    truth = COCO()
    truth.dataset = to_ground_truth(photos)
    results: list[dict[str, Any]] = to_results(predictions)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = COCOeval(truth, truth.loadRes(results), kind)
        found.evaluate()
        found.accumulate()
        found.summarize()
    values = (value if value >= 0 else np.nan for value in found.stats)
    return dict(zip(STATS, values, strict=True))


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return load_photos(write_people_set(tmp_path), tmp_path)[0]


def true_masks(photos: list[Photo]) -> Predictions:
    return {
        photo.id: [
            Prediction(encode_mask(decode_mask(p, photo.size_hw)), p.box_xyxy) for p in photo.people
        ]
        for photo in photos
    }


@pytest.mark.parametrize("kind", ["segm", "boundary", "bbox"])
def test_the_truth_scores_one(photos: list[Photo], kind: str) -> None:
    found = average_precision(photos, true_masks(photos), kind)
    assert found.stats["AP"] == found.stats["AR100"] == pytest.approx(1.0)
    assert np.isnan(found.stats["APl"])
    assert found.curves[0].precision == pytest.approx(np.ones(101))


def test_nothing_found_scores_zero(photos: list[Photo]) -> None:
    assert average_precision(photos, {}).stats["AP"] == 0.0


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_agrees_with_pycocotools(photos: list[Photo], kind: str) -> None:
    predictions = spoiled(photos, seed=3)
    assert predictions[1]
    expected = reference(photos, predictions, kind)
    assert average_precision(photos, predictions, kind).stats == pytest.approx(
        expected, abs=1e-6, nan_ok=True
    )


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_agrees_with_pycocotools_on_real_people(shared_dir: Path, kind: str) -> None:
    people = shared_dir / "data" / "people"
    photos, _ = load_photos(people / "coco_val.json", people / "images")
    predictions = spoiled(photos)
    found = average_precision(photos, predictions, kind).stats
    assert 0.05 < found["AP"] < 0.95
    assert found == pytest.approx(reference(photos, predictions, kind), abs=1e-6)


def test_boundary_iou_agrees_with_faster_coco_eval(photos: list[Photo]) -> None:
    for photo_id, items in spoiled(photos, seed=1).items():
        photo = next(photo for photo in photos if photo.id == photo_id)
        truth = decode_mask(photo.people[0], photo.size_hw)
        for item in items:
            own = decode_rle(item.rle)
            edges = [rleToBoundary(encode_mask(m), backend="opencv") for m in (own, truth)]
            theirs = mask_api.iou([edges[0]], [edges[1]], [0])[0][0]
            assert boundary_iou(own, truth) == pytest.approx(float(theirs), abs=1e-6)

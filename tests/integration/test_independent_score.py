"""The numbers of the report are recomputed by a script that shares no code with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray, RoiSample
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.bootstrap import estimate
from human_edge_detection.evaluation.coco import results
from human_edge_detection.evaluation.evaluate import evaluate
from independent_score import score
from people_set import write_people_set

SPEC = ModelSpec("lite", (), (), (), image_size=(64, 64), roi_size=14)


def spoiled(batch: list[RoiSample]) -> FloatArray:
    """Logits that know the truth in most places."""
    targets = np.concatenate([sample.targets for sample in batch])
    rng = np.random.default_rng(len(targets))
    known = np.where(targets > 2, 0, targets)
    wrong = rng.integers(0, 3, known.shape)
    labels = np.where(rng.random(known.shape) < 0.2, wrong, known)
    noise = rng.normal(0, 0.5, (len(labels), 3, *labels.shape[1:]))
    return np.asarray(np.eye(3)[labels].transpose(0, 3, 1, 2) * 4 + noise, np.float32)


def check(annotations: Path, folder: Path, step: int = 1) -> None:
    """Compare every headline number on each ``step``-th photo of an annotation file."""
    photos, _ = load_photos(annotations, folder)
    dataset = PhotoDataset(photos[::step], SPEC, with_images=False)
    found = evaluate(dataset, spoiled).scores  # type: ignore[arg-type]
    written = json.loads(json.dumps(results(found)))
    headline = {name: number.value for name, number in estimate(found, 12.0, rounds=1).items()}
    assert score(written, COCO(str(annotations))) == pytest.approx(headline, abs=2e-4)


def test_on_drawn_people(tmp_path: Path) -> None:
    check(write_people_set(tmp_path), tmp_path)


def test_on_real_people(shared_dir: Path) -> None:
    people = shared_dir / "data" / "people"
    check(people / "coco_val.json", people / "images", step=8)

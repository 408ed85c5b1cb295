"""Real runs of ``main.py`` that take seconds: noise photos and an extractor of a few weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from human_edge_detection.data.annotations import Photo
from stand_in import write_stand_in
from tiny_run import SIZE, write_photos

MAIN = Path(__file__).resolve().parents[2] / "main.py"
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": os.pathsep.join(str(MAIN.parent / n) for n in ("src", "tests")),
    "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip


def write_annotations(path: Path, photos: list[Photo]) -> Path:
    """The photos as a COCO file."""
    people = [
        {
            "id": person.id, "image_id": photo.id, "category_id": 1, "iscrowd": 0,
            "bbox": [*map(float, person.box_xyxy[:2]),
                     *map(float, person.box_xyxy[2:] - person.box_xyxy[:2])],
            "segmentation": person.segmentation, "area": person.area,
        }
        for photo in photos for person in photo.people
    ]  # fmt: skip
    images = [
        {"id": p.id, "file_name": p.file_name, "height": p.size_hw[0], "width": p.size_hw[1]}
        for p in photos
    ]
    categories = [{"id": 1, "name": "person"}]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    return path


def write_inputs(folder: Path, count: int = 5) -> list[str]:
    """Write photos, annotations and an extractor; the flags that name them come back."""
    photos = write_photos(folder, count)
    annotations = write_annotations(folder / "people.json", photos)
    extractor = write_stand_in(
        folder / "extractor.onnx", layer="a", channels=8, stride=8, size_hw=(SIZE, SIZE)
    )
    return [
        "--train_ann", str(annotations), "--train_img_dir", str(folder),
        "--val_ann", str(annotations), "--val_img_dir", str(folder),
        "--onnx_model", str(extractor), "--layers", "a", "--image_size", str(SIZE), str(SIZE),
        "--roi_size", "4", "--mask_size", "8", "--min_roi_size", "4", "--batch_size", "2",
        "--num_workers", "0", "--device", "cpu",
    ]  # fmt: skip


def outputs(folder: Path) -> list[str]:
    """The flags that send all a run writes into one folder."""
    return [
        "--checkpoint_dir", str(folder / "checkpoints"), "--log_dir", str(folder / "logs"),
        "--val_output_dir", str(folder / "pictures"),
    ]  # fmt: skip


def start(flags: list[str], folder: Path, *, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A started ``main.py``; ``before`` are the arguments of Python that come before it."""
    return subprocess.Popen(
        [sys.executable, *before, str(MAIN), *flags], cwd=folder, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Whether two payloads hold equal tensors and values."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)

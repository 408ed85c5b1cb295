"""The drawn sample set: crowds with exact masks, written in COCO format.

It needs no download and no licence, so a fresh clone can train at once. Each picture depends only
on the seed and its own number.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.sample.scene import draw_crowd

__all__ = ["SamplePaths", "draw_crowd", "write_sample_set"]

_LOGGER = logging.getLogger(__name__)
SAMPLE_VERSION = 2
"""Raised when the drawing changes, so that an older set on disk is drawn again."""
SIZES_HW = ((480, 640), (480, 640), (427, 640), (640, 480), (640, 427), (512, 512), (360, 640))
CATEGORIES = [{"id": 1, "name": "person"}]
PEOPLE_COUNTS = (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 8, 10, 14)


@dataclass(frozen=True)
class SamplePaths:
    """Where the sample set lies: two COCO files and their picture folders."""

    train_ann: Path
    val_ann: Path
    train_img_dir: Path
    val_img_dir: Path


def write_sample_set(root: Path, n_train: int = 100, n_val: int = 20, seed: int = 0) -> SamplePaths:
    """Draw the sample set below ``root``, unless the same one already lies there whole.

    Returns:
        The paths of ``annotations/sample_{train,val}.json`` and ``images/sample_{train,val}``.
    """
    paths = SamplePaths(
        *(root / "annotations" / f"sample_{split}.json" for split in ("train", "val")),
        *(root / "images" / f"sample_{split}" for split in ("train", "val")),
    )
    _write_split(paths.train_ann, paths.train_img_dir, n_train, (seed, 0))
    _write_split(paths.val_ann, paths.val_img_dir, n_val, (seed, 1))
    return paths


def _write_split(ann_path: Path, img_dir: Path, count: int, key: tuple[int, int]) -> None:
    info = {"version": SAMPLE_VERSION, "seed": key[0], "count": count}
    if _is_whole(ann_path, img_dir, info):
        return
    _LOGGER.info("drawing %d sample pictures into %s", count, img_dir)
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        rng, name = np.random.default_rng([*key, number]), f"{number:012d}.jpg"
        (height, width), crowd = rng.choice(SIZES_HW).tolist(), int(rng.choice(PEOPLE_COUNTS))
        image, masks, boxes = draw_crowd([*key, number], (height, width), crowd)
        jpeg = cv2.imencode(".jpg", image[..., ::-1])[1]
        write_atomically(img_dir / name, jpeg.tobytes())
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
            people.append({
                "id": len(people) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(mask.sum()),
                "segmentation": encode_mask(mask),
            })  # fmt: skip
    content = {"info": info, "images": images, "annotations": people, "categories": CATEGORIES}
    # The annotations come last: a set that was interrupted has none and is drawn again.
    write_atomically(ann_path, json.dumps(content).encode())


def _is_whole(ann_path: Path, img_dir: Path, info: dict[str, Any]) -> bool:
    try:
        content = json.loads(ann_path.read_bytes())
        names = [image["file_name"] for image in content["images"]]
        same = bool(content["info"] == info)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and all((img_dir / name).is_file() for name in names)

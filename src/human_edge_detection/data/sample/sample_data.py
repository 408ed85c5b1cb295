"""The built-in sample set: drawn crowds with exact masks, written in COCO format.

It needs no download and no licence, so that a fresh clone can train at once. Each picture depends
on the seed and its own number alone.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.data.sample.scene import draw_scene

logger = logging.getLogger(__name__)

SAMPLE_VERSION = 1
"""Raised when the drawing changes, so that an older set on disk is drawn again."""

SIZES_HW = ((480, 640), (480, 640), (427, 640), (640, 480), (640, 427), (512, 512), (360, 640))
PEOPLE_COUNTS = (1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 8, 10, 14)
JPEG_QUALITY = 92


@dataclass(frozen=True)
class SamplePaths:
    """Where the sample set lies: two COCO files and their picture folders."""

    train_ann: Path
    val_ann: Path
    train_img_dir: Path
    val_img_dir: Path


def draw_crowd(
    seed: int, size_hw: tuple[int, int] = (480, 640), people: int | None = None
) -> tuple[ImageArray, NDArray[np.bool_], FloatArray]:
    """A drawn picture of people in front of each other.

    Args:
        seed: the same seed, size and number give the same picture.
        size_hw: height and width in pixels.
        people: how many; fewer come back where no more can be seen. By default 4 to 9.

    Returns:
        image uint8 [H, W, 3] RGB; visible pixels of each person, bool [N, H, W], no pixel owned
        twice; boxes float32 [N, 4] xyxy of these pixels, end-exclusive. The furthest comes first.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 10)) if people is None else people
    image, masks = draw_scene(rng, size_hw, count)
    return image, masks, _boxes(masks)


def write_sample_set(root: Path, n_train: int = 100, n_val: int = 20, seed: int = 0) -> SamplePaths:
    """Draw the sample set below ``root``, unless the same one already lies there whole.

    Returns:
        The paths of ``annotations/sample_{train,val}.json`` and ``images/sample_{train,val}``.
    """
    images, annotations = root / "images", root / "annotations"
    paths = SamplePaths(
        annotations / "sample_train.json",
        annotations / "sample_val.json",
        images / "sample_train",
        images / "sample_val",
    )
    _write_split(paths.train_ann, paths.train_img_dir, n_train, (seed, 0))
    _write_split(paths.val_ann, paths.val_img_dir, n_val, (seed, 1))
    return paths


def _write_split(ann_path: Path, img_dir: Path, count: int, key: tuple[int, int]) -> None:
    info = {
        "description": "drawn people, human_edge_detection",
        "version": SAMPLE_VERSION,
        "seed": key[0],
        "count": count,
    }
    if _is_whole(ann_path, img_dir, info):
        return
    logger.info("drawing %d sample pictures into %s", count, img_dir)
    img_dir.mkdir(parents=True, exist_ok=True)
    ann_path.parent.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for number, (image, masks) in ((n, _draw_numbered(key, n)) for n in range(1, count + 1)):
        name = f"{number:012d}.jpg"
        _write_file(img_dir / name, _jpeg(image))
        height, width = image.shape[:2]
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for mask, box in zip(masks, _boxes(masks), strict=True):
            people.append(_annotation(len(people) + 1, number, mask, box))
    content = {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    }
    # The annotations come last: a set that was interrupted has none and is drawn again.
    _write_file(ann_path, json.dumps(content).encode())


def _draw_numbered(key: tuple[int, int], number: int) -> tuple[ImageArray, NDArray[np.bool_]]:
    rng = np.random.default_rng([*key, number])
    size_hw = SIZES_HW[int(rng.integers(len(SIZES_HW)))]
    return draw_scene(rng, size_hw, PEOPLE_COUNTS[int(rng.integers(len(PEOPLE_COUNTS)))])


def _is_whole(ann_path: Path, img_dir: Path, info: dict[str, Any]) -> bool:
    try:
        content = json.loads(ann_path.read_bytes())
        names = [image["file_name"] for image in content["images"]]
        same = bool(content["info"] == info)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and all((img_dir / name).is_file() for name in names)


def _annotation(
    number: int, image_id: int, mask: NDArray[np.bool_], box: FloatArray
) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    x1, y1, x2, y2 = (float(value) for value in box)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(mask.sum()),
        "segmentation": {"size": list(mask.shape), "counts": encoded["counts"].decode()},
    }


def _boxes(masks: NDArray[np.bool_]) -> FloatArray:
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        box[:] = x[0], y[0], x[-1] + 1, y[-1] + 1
    return boxes


def _jpeg(image: ImageArray) -> bytes:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())


def _write_file(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)

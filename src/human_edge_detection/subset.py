"""Makes the people-only annotation files, whole and small, from an official COCO JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from human_edge_detection.coco_json import image_sizes, person_category, read_coco
from human_edge_detection.config import SubsetOptions
from human_edge_detection.errors import InputError
from human_edge_detection.images import write_atomically

_LOGGER = logging.getLogger(__name__)
SUFFIX = "_person_only_no_crowd"


def keep_people(content: Mapping[str, Any], category: int) -> dict[str, Any]:
    """The part of a COCO file about people, without photos that show a crowd region.

    Args:
        content: a COCO annotation file.
        category: id of the person category.
    """
    people = [item for item in content["annotations"] if item.get("category_id") == category]
    crowded = {item.get("image_id") for item in people if item.get("iscrowd")}
    peopled = {item.get("image_id") for item in people} - crowded
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] in peopled],
        "annotations": [item for item in people if item.get("image_id") in peopled],
        "categories": [item for item in content["categories"] if item.get("id") == category],
    }


def make_subset(content: Mapping[str, Any], count: int, seed: int = 42) -> dict[str, Any]:
    """A COCO file with ``count`` of its photos, drawn at random, and their annotations.

    With one seed a smaller subset is part of every larger one.

    Raises:
        InputError: if there are fewer photos.
    """
    images = content["images"]
    if count > len(images):
        raise InputError(f"a subset of {count} photos was asked for, but there are {len(images)}")
    drawn = np.random.default_rng(seed).permutation(len(images))[:count]
    kept = [images[i] for i in sorted(drawn)]
    ids = {image["id"] for image in kept}
    annotations = [item for item in content["annotations"] if item["image_id"] in ids]
    return {**content, "images": kept, "annotations": annotations}


def run_subset(options: SubsetOptions) -> None:
    """Write ``NAME_person_only_no_crowd.json`` and its small versions, and print their names."""
    for ann_path in options.ann:
        content = read_coco(ann_path)
        image_sizes(content, ann_path)
        people = keep_people(content, person_category(content, ann_path))
        if not people["images"]:
            raise InputError(f"{ann_path}: every photo is without people or shows a crowd region")
        folder = options.output_dir or ann_path.parent
        _write(folder / f"{ann_path.stem}{SUFFIX}.json", people)
        for count in options.sizes:
            if count > len(people["images"]):
                _LOGGER.warning("%s: no subset of %d photos, there are only %d",
                                ann_path, count, len(people["images"]))  # fmt: skip
                continue
            small = make_subset(people, count, options.seed)
            _write(folder / f"{ann_path.stem}{SUFFIX}_{count}.json", small)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, separators=(",", ":")).encode())
    print(f"{path}: {len(content['images'])} photos, {len(content['annotations'])} people")

"""People-only annotation files, whole and small, from an official COCO JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.options import option
from human_edge_detection.data.coco_file import CocoFile, Text
from human_edge_detection.data.coco_reader import MAX_FAULT_SHARE, refuse_many, report_faults
from human_edge_detection.data.photo_table import IntArray

_LOGGER = logging.getLogger(__name__)
SUFFIX = "_person_only_no_crowd"


@dataclass(frozen=True)
class SubsetOptions:
    """What ``subset`` takes."""

    ann: tuple[Path, ...] = option(
        (), "official COCO files, such as instances_train2017.json", metavar="ANN", positional=True
    )
    output_dir: Path | None = option(None, "folder of the new files (default: beside the old one)")
    sizes: tuple[int, ...] = option((100, 500), "numbers of photos of the small versions")
    seed: int = option(42, "seed of the random choice")

    def __post_init__(self) -> None:
        if bad := [size for size in self.sizes if size < 1]:
            raise InputError(f"--sizes {bad[0]} must be at least 1")


@dataclass(frozen=True)
class Subset:
    """Part of a COCO file.

    Attributes:
        coco: the file.
        category: id of the person category, the only one that is kept.
        image_rows: int64 [N], the images, ascending.
        people: int64 [A, 2], the image row and the number of each annotation.
    """

    coco: CocoFile
    category: int
    image_rows: IntArray
    people: IntArray


def keep_people(coco: CocoFile) -> Subset:
    """The part of a COCO file about people, without photos that show a crowd region."""
    category = coco.person_category()
    row_of = {identity: row for row, identity in enumerate(coco.images.ids)}
    people, crowded = [], set()
    for number, item in coco.annotations_of(category):
        image_id = item.get("image_id") if isinstance(item, dict) else None
        row = row_of.get(image_id) if isinstance(image_id, int) else None
        if row is not None:
            people.append((row, number))
            crowded.update([row] if item.get("iscrowd") else [])
    found = np.array(people, np.int64).reshape(-1, 2)
    found = found[~np.isin(found[:, 0], list(crowded))]
    return Subset(coco, category, np.unique(found[:, 0]), found)


def draw_photos(subset: Subset, count: int, seed: int = 42) -> Subset:
    """A subset with ``count`` of the photos, drawn at random, and their people.

    With one seed a smaller subset is part of every larger one.

    Raises:
        InputError: if there are fewer photos.
    """
    rows = subset.image_rows
    if count > len(rows):
        raise InputError(f"a subset of {count} photos was asked for, but there are {len(rows)}")
    kept = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]
    return replace(
        subset, image_rows=kept, people=subset.people[np.isin(subset.people[:, 0], kept)]
    )


def encode_subset(subset: Subset) -> bytes:
    """The subset as a COCO file: each image and each person as it stands in the original."""
    coco = subset.coco
    parts = {
        "images": (coco.image_texts[row] for row in subset.image_rows.tolist()),
        "annotations": (coco.annotation_texts[number] for number in subset.people[:, 1].tolist()),
    }
    categories = [
        item for item in coco.categories
        if isinstance(item, dict) and item.get("id") == subset.category
    ]  # fmt: skip
    text = bytearray()
    for key, member in coco.members.items():
        text += b"," if text else b"{"
        text += json.dumps(key).encode() + b":"
        if key in parts:
            _add_list(text, parts[key])
        elif key == "categories":
            text += json.dumps(categories, separators=(",", ":")).encode()
        else:
            text += member
    text += b"}"
    return bytes(text)


def _add_list(text: bytearray, items: Iterable[Text]) -> None:
    """Append a JSON array."""
    text += b"["
    for number, item in enumerate(items):
        if number:
            text += b","
        text += item
    text += b"]"


def run_subset(options: SubsetOptions) -> None:
    """Write ``NAME_person_only_no_crowd.json`` and its small versions, and print their names."""
    for ann_path in options.ann:
        coco = CocoFile(ann_path)
        total = len(coco.images) + len(coco.faults)
        refuse_many(coco.faults, total, "photos", MAX_FAULT_SHARE, ann_path)
        report_faults(coco.faults, ann_path)
        people = keep_people(coco)
        total = len(people.image_rows)
        if not total:
            raise InputError(f"{ann_path}: every photo is without people or shows a crowd region")
        folder = options.output_dir or ann_path.parent
        _write(folder / f"{ann_path.stem}{SUFFIX}.json", people)
        for count in options.sizes:
            if count > total:
                _LOGGER.warning("%s: no subset of %d photos, there are only %d",
                                ann_path, count, total)  # fmt: skip
                continue
            small = draw_photos(people, count, options.seed)
            _write(folder / f"{ann_path.stem}{SUFFIX}_{count}.json", small)


def _write(path: Path, subset: Subset) -> None:
    write_atomically(path, encode_subset(subset))
    print(f"{path}: {len(subset.image_rows)} photos, {len(subset.people)} people")

"""Person boxes out of COCO annotations and COCO results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.boxes import (
    BoxFile,
    BoxRow,
    ImageBoxes,
    NamedBoxes,
    NumberedBoxes,
)

PERSON = "person"


def read_coco(path: Path, text: str, kind: str = "json") -> BoxFile:
    """The boxes of a COCO file.

    Args:
        path: the file, for messages.
        text: its content.
        kind: ``coco``, ``coco_results``, or ``json`` for whichever it is.

    Raises:
        InputError: it is not JSON, or neither of the two, or not the one asked for.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--boxes {path} is not JSON: {error}") from error
    found = "coco" if isinstance(content, dict) else "coco_results"
    if kind not in ("json", found):
        raise InputError(f"--boxes {path} holds {found}, not {kind}: change --boxes_format")
    try:
        return _annotations(path, content) if found == "coco" else _results(path, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--boxes {path} is neither COCO annotations (images, annotations with bbox) nor a "
            f"list of COCO results (image_id, bbox, score): {type(error).__name__} {error}"
        ) from error


def _annotations(path: Path, content: dict[str, Any]) -> NamedBoxes:
    person = _person_category(path, content.get("categories") or [])
    people: dict[int, list[BoxRow]] = {image["id"]: [] for image in content["images"]}
    for item in content["annotations"]:
        if item.get("iscrowd") or (person is not None and item.get("category_id") != person):
            continue
        if item["image_id"] in people:
            people[item["image_id"]].append(_row(item, f"annotation {item.get('id')}"))
    entries: dict[str, ImageBoxes] = {}
    for image in content["images"]:
        if image["file_name"] in entries:
            raise InputError(f"--boxes {path} lists the image {image['file_name']} twice")
        entries[image["file_name"]] = replace(
            ImageBoxes.from_rows(people[image["id"]]),
            image_id=int(image["id"]),
            file_name=str(image["file_name"]),
            size_hw=_size(image),
        )
    return NamedBoxes(entries, str(path))


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def _person_category(path: Path, categories: list[dict[str, Any]]) -> int | None:
    people = [item["id"] for item in categories if str(item.get("name", "")).lower() == PERSON]
    if people or len(categories) <= 1:
        return people[0] if people else (categories[0]["id"] if categories else None)
    names = ", ".join(str(item.get("name")) for item in categories[:8])
    raise InputError(f"--boxes {path} has no category '{PERSON}' among {names}: name one so")


def _results(path: Path, content: list[dict[str, Any]]) -> BoxFile:
    kinds = {item.get("category_id", 1) for item in content}
    if len(kinds) > 1 and 1 not in kinds:
        raise InputError(
            f"--boxes {path} holds the categories {sorted(kinds)[:8]} but not 1, which is COCO's "
            "person: keep the people and number them 1"
        )
    people = [item for item in content if len(kinds) == 1 or item.get("category_id", 1) == 1]
    named = [item.get("file_name") is not None for item in people]
    if any(named) and not all(named):
        raise InputError(f"--boxes {path}: some results have a file_name and some have none")
    key = "file_name" if any(named) else "image_id"
    rows: dict[Any, list[BoxRow]] = {}
    ids: dict[Any, int] = {}
    for number, item in enumerate(people):
        rows.setdefault(item[key], []).append(_row(item, f"result {number}"))
        if item.get("image_id") is not None:
            ids[item[key]] = int(item["image_id"])
    entries = {
        name: replace(
            ImageBoxes.from_rows(found),
            image_id=ids.get(name),
            file_name=str(name) if key == "file_name" else None,
        )
        for name, found in rows.items()
    }
    if key == "file_name":
        return NamedBoxes(entries, str(path))
    return NumberedBoxes({int(number): found for number, found in entries.items()})


def _row(item: dict[str, Any], where: str) -> BoxRow:
    xyxy = _corners(item["bbox"])
    number = item.get("annotation_id", item.get("id"))
    score = item.get("score")
    where = f"{where} of image {item.get('image_id')}"
    annotation_id = int(number) if number is not None else None
    return BoxRow(xyxy, 1.0 if score is None else float(score), where, annotation_id)


def _corners(bbox_xywh: Iterable[Any]) -> tuple[float, ...]:
    x, y, width, height = (float(value) for value in bbox_xywh)
    return x, y, x + width, y + height

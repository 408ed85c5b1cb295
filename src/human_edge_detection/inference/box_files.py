"""Opens a box file of a declared format: CSV and YOLO txt here, COCO in ``coco_boxes``.

Person boxes out of COCO annotations and COCO results.
"""

from __future__ import annotations

import csv
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
    path_endings,
)
from human_edge_detection.inference.options import BOX_FORMATS

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


COLUMNS = ("file", "x1", "y1", "x2", "y2")


def open_boxes(path: Path, kind: str = "auto", person_class: int | None = None) -> BoxFile:
    """The boxes of a file or folder.

    Args:
        path: the file, or the folder of txt files.
        kind: one of ``BOX_FORMATS``.
        person_class: class of people in YOLO txt; None for 0.

    Raises:
        InputError: the file is missing, damaged, of no declared format, or ambiguous.
    """
    if not path.exists():
        raise InputError(f"--boxes {path} does not exist: check the path")
    kind = _guess(path) if kind == "auto" else kind
    if (kind == "yolo") != path.is_dir():
        what = "folder" if path.is_dir() else "file"
        raise InputError(f"--boxes {path} is a {what}, which --boxes_format {kind} cannot be")
    if kind == "yolo":
        return YoloFolder(path, 0 if person_class is None else person_class)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--boxes {path} cannot be read: {error}") from error
    if kind.startswith("csv"):
        return read_csv(path, text, needs_header=kind == "csv with header")
    return read_coco(path, text, kind)


def _guess(path: Path) -> str:
    if path.is_dir():
        return "yolo"
    known = {".json": "json", ".csv": "csv with header"}
    if path.suffix.lower() not in known:
        raise InputError(
            f"--boxes {path}: the ending '{path.suffix}' does not tell its format; say it with "
            f"--boxes_format {' | '.join(BOX_FORMATS[1:])}"
        )
    return known[path.suffix.lower()]


def read_csv(path: Path, text: str, needs_header: bool) -> NamedBoxes:
    """The boxes of a CSV table ``file,x1,y1,x2,y2[,score]``, pixels of the upright photo.

    Args:
        path: the file, for messages.
        text: its content.
        needs_header: refuse a table that does not name its columns.
    """
    lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
    first = tuple(cell.strip().lower() for cell in lines[0]) if lines else ()
    has_header = first in (COLUMNS, (*COLUMNS, "score"))
    if not has_header and (needs_header or (first and first[0] == "file")):
        raise InputError(
            f"--boxes {path}: the first line must be {','.join(COLUMNS)}[,score], but is "
            f"{','.join(first)[:80]!r}; if the columns are in that order without a header, say "
            "--boxes_format csv"
        )
    rows: dict[str, list[BoxRow]] = {}
    for number, cells in enumerate(lines[has_header:], start=1 + has_header):
        if cells:
            rows.setdefault(cells[0].strip(), []).append(_csv_row(path, number, cells))
    entries = {
        name: replace(ImageBoxes.from_rows(found), file_name=name) for name, found in rows.items()
    }
    return NamedBoxes(entries, str(path))


def _csv_row(path: Path, number: int, cells: list[str]) -> BoxRow:
    where = f"{path} line {number}"
    if len(cells) not in (5, 6):
        raise InputError(f"--boxes {where}: has {len(cells)} columns, must be 5 or 6 ({COLUMNS})")
    values = _numbers(cells[1:], where)
    return BoxRow(tuple(values[:4]), values[4] if len(values) > 4 else 1.0, where)


def _numbers(cells: list[str], where: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(f"--boxes {where}: {error}") from None


class YoloFolder:
    """A folder of ``NAME.txt`` with lines ``class cx cy w h [score]``, parts of the photo's size.

    A photo without a txt file is one that the folder does not know; an empty file means nobody.
    """

    def __init__(self, folder: Path, person_class: int) -> None:
        """Use the folder; files are read when asked for."""
        if next(folder.rglob("*.txt"), None) is None:
            raise InputError(f"--boxes {folder}: there is no .txt file in this folder")
        self._folder = folder
        self._person_class = person_class

    def key(self, path: str) -> str | None:
        """The photo's txt file, below the same folders if they are there."""
        for ending in path_endings(path):
            text_file = self._folder / Path(ending).with_suffix(".txt")
            if text_file.is_file():
                return str(text_file)
        return None

    def read(self, key: str) -> ImageBoxes:
        """The boxes of one txt file.

        Raises:
            InputError: it cannot be read, or a line is not a box.
        """
        try:
            lines = Path(key).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--boxes {key} cannot be read: {error}") from error
        rows = [
            row
            for number, line in enumerate(lines, start=1)
            if line.strip() and (row := self._row(f"{key} line {number}", line.split()))
        ]
        return replace(ImageBoxes.from_rows(rows), relative=True)

    def _row(self, where: str, cells: list[str]) -> BoxRow | None:
        if len(cells) not in (5, 6):
            raise InputError(
                f"--boxes {where}: has {len(cells)} numbers, must be 'class cx cy w h' or "
                "'class cx cy w h score' (polygons and keypoints are not read)"
            )
        kind, cx, cy, width, height, *score = _numbers(cells, where)
        if kind != self._person_class:
            return None
        if max(abs(cx), abs(cy), width, height) > 2:
            raise InputError(
                f"--boxes {where}: numbers must be parts of the photo's size (0…1), not pixels"
            )
        xyxy = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return BoxRow(xyxy, score[0] if score else 1.0, where)

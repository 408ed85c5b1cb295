"""Person boxes out of COCO annotations, COCO results, CSV tables and folders of YOLO txt files."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from human_edge_detection.core.errors import InputError, one_line, shown
from human_edge_detection.core.files import check_regular
from human_edge_detection.inference.boxes import (
    BoxFile,
    BoxRow,
    ImageBoxes,
    NamedBoxes,
    NumberedBoxes,
    path_endings,
)
from human_edge_detection.inference.options import BOX_FORMATS

COLUMNS = ("file", "x1", "y1", "x2", "y2")
"""First columns of a CSV table; a sixth may be ``score``."""

_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading the wrong JSON raises."""


def open_boxes(path: Path, kind: str = "auto", person_class: int | None = None) -> BoxFile:
    """The boxes of a file, or of a folder of txt files, ``kind`` being one of ``BOX_FORMATS``.

    Raises:
        InputError: the file is missing, damaged, of no declared format, or ambiguous.
    """
    is_folder = os.path.isdir(path)
    if not is_folder:
        check_regular(path, "boxes")
    kind = _guess(path, is_folder) if kind == "auto" else kind
    if (kind == "yolo") != is_folder:
        what = "folder" if is_folder else "file"
        raise InputError(f"boxes {path} is a {what}, which boxes_format {kind} cannot be")
    if kind == "yolo":
        return YoloFolder(path, 0 if person_class is None else person_class)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"boxes {path} cannot be read: {error}") from error
    if kind.startswith("csv"):
        return read_csv(path, text, needs_header=kind == "csv with header")
    return read_coco(path, text, kind)


def _guess(path: Path, is_folder: bool) -> str:
    if is_folder:
        return "yolo"
    known = {".json": "json", ".csv": "csv with header"}
    if path.suffix.lower() not in known:
        raise InputError(
            f"boxes {path}: the ending '{path.suffix}' stands for no format; choose "
            f"boxes_format {' | '.join(BOX_FORMATS[1:])}"
        )
    return known[path.suffix.lower()]


def read_coco(path: Path, text: str, kind: str = "json") -> BoxFile:
    """The boxes of a COCO file's text; ``json`` stands for whichever kind it is.

    Raises:
        InputError: it is not JSON, or neither of the two, or not the one asked for.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"boxes {path} is not JSON that can be read: {error}") from error
    found = "coco" if isinstance(content, dict) else "coco_results"
    if kind not in ("json", found):
        raise InputError(f"boxes {path} holds {found}, not {kind}: change boxes_format")
    try:
        return _annotations(path, content) if found == "coco" else _results(path, content)
    except InputError:
        raise
    except _DAMAGED as error:
        reason = f"{type(error).__name__} {shown(str(error))}"
        raise InputError(
            f"boxes {path} is neither COCO annotations (images, annotations with bbox) nor a "
            f"list of COCO results (image_id, bbox, score): {reason}"
        ) from error


def _annotations(path: Path, content: dict[str, Any]) -> NamedBoxes:
    person = _person_category(path, content.get("categories") or [])
    people: dict[int, list[BoxRow]] = {int(image["id"]): [] for image in content["images"]}
    for item in content["annotations"]:
        if item.get("iscrowd") or (person and str(item.get("category_id")) != person):
            continue
        if (image_id := int(item["image_id"])) in people:
            people[image_id].append(_row(item, f"annotation {item.get('id')}"))
    entries: dict[str, ImageBoxes] = {}
    for image in content["images"]:
        if image["file_name"] in entries:
            raise InputError(f"boxes {path} lists the image {image['file_name']} twice")
        entries[image["file_name"]] = replace(
            ImageBoxes.from_rows(people[int(image["id"])]),
            image_id=int(image["id"]),
            file_name=str(image["file_name"]),
            size_hw=_size(image),
        )
    return NamedBoxes(entries, str(path))


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def _person_category(path: Path, categories: list[dict[str, Any]]) -> str | None:
    """The people's category as text, because ids are texts in some files."""
    people = [item for item in categories if str(item.get("name", "")).lower() == "person"]
    if people or len(categories) <= 1:
        return next((str(item["id"]) for item in people or categories), None)
    names = ", ".join(str(item.get("name")) for item in categories[:8])
    raise InputError(f"boxes {path} has no category 'person' among {names}: name one so")


def _results(path: Path, content: list[dict[str, Any]]) -> BoxFile:
    kinds = {str(item.get("category_id", 1)) for item in content}
    if len(kinds) > 1 and "1" not in kinds:
        raise InputError(
            f"boxes {path} holds the categories {sorted(kinds)[:8]} but not 1, which is COCO's "
            "person: keep the people and number them 1"
        )
    people = [item for item in content if len(kinds) == 1 or str(item.get("category_id", 1)) == "1"]
    named = [item.get("file_name") is not None for item in people]
    if any(named) and not all(named):
        raise InputError(f"boxes {path}: some results have a file_name and some have none")
    key = "file_name" if any(named) else "image_id"
    rows: dict[Any, list[BoxRow]] = {}
    ids: dict[Any, int] = {}
    for number, item in enumerate(people):
        name = item[key] if key == "file_name" else int(item[key])
        rows.setdefault(name, []).append(_row(item, f"result {number}"))
        if item.get("image_id") is not None:
            ids[name] = int(item["image_id"])
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
    return NumberedBoxes(entries)


def _row(item: dict[str, Any], where: str) -> BoxRow:
    xyxy = _corners(item["bbox"])
    number = item.get("annotation_id", item.get("id"))
    score = item.get("score")
    where = f"{where} of image {item.get('image_id')}"
    annotation_id = int(number) if number is not None else None
    return BoxRow(xyxy, 1.0 if score is None else _number(score), where, annotation_id)


def _corners(bbox_xywh: Iterable[Any]) -> tuple[float, ...]:
    x, y, width, height = map(_number, bbox_xywh)
    return x, y, x + width, y + height


def _number(value: Any) -> float:
    """The value as a float; of an integer beyond all floats infinity, which becomes a fault."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def read_csv(path: Path, text: str, needs_header: bool) -> NamedBoxes:
    """The boxes of a CSV table ``file,x1,y1,x2,y2[,score]``, pixels of the upright photo."""
    try:
        lines = list(csv.reader(text.splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"boxes {path} is no CSV table that can be read: {error}") from error
    first = tuple(cell.strip().lower() for cell in lines[0]) if lines else ()
    has_header = first in (COLUMNS, (*COLUMNS, "score"))
    if not has_header and (needs_header or (first and first[0] == "file")):
        raise InputError(
            f"boxes {path}: the first line must be {','.join(COLUMNS)}[,score], but is "
            f"{','.join(first)[:80]!r}; if the columns are in that order without a header, "
            "choose boxes_format csv"
        )
    rows: dict[str, list[BoxRow]] = {}
    for number, cells in enumerate(lines[has_header:], start=1 + has_header):
        if any(cell.strip() for cell in cells):
            rows.setdefault(cells[0].strip(), []).append(_csv_row(path, number, cells))
    entries = {
        name: replace(ImageBoxes.from_rows(found), file_name=name) for name, found in rows.items()
    }
    return NamedBoxes(entries, str(path))


def _csv_row(path: Path, number: int, cells: list[str]) -> BoxRow:
    where = f"{path} line {number}"
    if len(cells) not in (5, 6):
        wanted = f"{','.join(COLUMNS)}[,score]"
        raise InputError(f"boxes {where}: has {len(cells)} columns, must be {wanted}")
    values = _numbers(cells[1:], where)
    return BoxRow(tuple(values[:4]), values[4] if len(values) > 4 else 1.0, where)


def _numbers(cells: list[str], where: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(f"boxes {where}: {one_line(str(error), 120)}") from None


class YoloFolder:
    """A folder of ``NAME.txt``, lines ``class cx cy w h [score]`` in fractions of a photo's sides.

    A photo without a txt file has no entry; an empty file stands for a photo without people.
    """

    def __init__(self, folder: Path, person_class: int) -> None:
        """Look for txt files; each is read when it is asked for."""
        if next(folder.rglob("*.txt"), None) is None:
            raise InputError(f"boxes {folder}: there is no .txt file in this folder")
        self._folder = folder
        self._person_class = person_class

    def key(self, path: str) -> str | None:
        """The photo's txt file, below the same folders if they are there."""
        for ending in path_endings(path):
            # With such an ending the path would lie beside the photo.
            if PurePath(ending).is_absolute() or ".." in PurePath(ending).parts:
                continue
            text_file = self._folder / Path(ending).with_suffix(".txt")
            if os.path.isfile(text_file):
                return str(text_file)
        return None

    def read(self, key: str) -> ImageBoxes:
        """The boxes of one txt file.

        Raises:
            InputError: it cannot be read, or a line is not a box.
        """
        try:
            lines = Path(key).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"boxes {key} cannot be read: {error}") from error
        rows = [
            row
            for number, line in enumerate(lines, start=1)
            if line.strip() and (row := self._row(f"{key} line {number}", line.split()))
        ]
        return replace(ImageBoxes.from_rows(rows), relative=True)

    def _row(self, where: str, cells: list[str]) -> BoxRow | None:
        if len(cells) not in (5, 6):
            raise InputError(
                f"boxes {where}: has {len(cells)} numbers, must be 'class cx cy w h' or "
                "'class cx cy w h score' (polygons and keypoints are not read)"
            )
        kind, cx, cy, width, height, *score = _numbers(cells, where)
        if kind != self._person_class:
            return None
        if max(abs(cx), abs(cy), width, height) > 2:
            raise InputError(
                f"boxes {where}: numbers must be fractions of the photo's sides (0…1), not pixels"
            )
        xyxy = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return BoxRow(xyxy, score[0] if score else 1.0, where)

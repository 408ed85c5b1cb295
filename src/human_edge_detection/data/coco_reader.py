"""Reads COCO-format annotations of people; what is faulty is named, skipped and counted."""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.rle import segmentation_fault
from human_edge_detection.data.annotations import Finding, Photo
from human_edge_detection.data.coco_file import CocoFile
from human_edge_detection.data.photo_table import (
    ImageColumns,
    PackedTexts,
    PeopleColumns,
    PhotoTable,
)
from human_edge_detection.data.photos import PhotoFile, PhotoStore

_LOGGER = logging.getLogger(__name__)
_FAULTS_SHOWN = 5
_HUGE = 2**63
MAX_FAULT_SHARE = 0.1
"""Largest fraction of faulty photos, or of faulty people, that are skipped."""


def load_photos(
    ann_path: Path | str,
    image_dir: Path | str | PhotoStore,
    *,
    check_files: bool = True,
    max_fault_share: float = MAX_FAULT_SHARE,
    may_be_empty: bool = False,
    boxes_suffice: bool = False,
) -> tuple[Sequence[Photo], list[Finding]]:
    """The photos in which somebody has a mask, and the faults that were found and skipped.

    The outlines of people are kept as JSON and parsed when their photo is accessed: COCO train2017
    takes 0.6 GB while it is read and 0.2 GB afterwards. Masks are not decoded here. A person with a
    faulty mask is kept with the box alone; the people of a faulty photo are left out with it.

    Args:
        ann_path: COCO-format JSON; other categories than ``person`` are left out.
        image_dir: folder that the images' ``file_name`` starts from, or folders and archives.
        check_files: look whether each photo with people exists.
        max_fault_share: largest fraction of faulty photos, or of faulty people, to go on with.
        may_be_empty: return no photos, with the faults, if nobody has a usable mask for them.
        boxes_suffice: also take photos in which people are known by their boxes only.

    Raises:
        InputError: if the file is not COCO annotations, holds no people, or has too many faults.
    """
    coco = CocoFile(ann_path)
    folder = Path(image_dir) if isinstance(image_dir, str) else image_dir
    if check_files and isinstance(folder, Path) and not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos (for {ann_path})")
    refuse_many(
        coco.faults, len(coco.images) + len(coco.faults), "photos", max_fault_share, ann_path
    )
    reader = _PeopleReader(coco)
    people, faults = reader.read(), reader.faults
    refuse_many(faults, reader.count, "people", max_fault_share, ann_path)
    is_wanted = ~people.is_crowd if boxes_suffice else people.is_target
    rows = np.unique(people.image_rows[is_wanted])
    missing = _missing_files(coco.images, rows.tolist(), folder) if check_files else {}
    refuse_many([*missing.values()], len(rows), "photos", max_fault_share, ann_path)
    kept = rows[~np.isin(rows, list(missing))]
    if not len(kept) and not (may_be_empty and (faults or coco.faults)):
        known = "box" if boxes_suffice else "mask"
        raise InputError(f"{ann_path}: no person in it has a {known}, so there is nothing to use")
    faults = [*coco.faults, *faults, *missing.values()]
    report_faults(faults, ann_path)
    return PhotoTable(coco.images, people, kept, folder), faults


class _PeopleReader:
    """Reads the annotations of people one by one into columns, and notes what is wrong."""

    def __init__(self, coco: CocoFile) -> None:
        self._coco = coco
        self._row_of = {identity: row for row, identity in enumerate(coco.images.ids)}
        self._rows, self._ids = array("q"), array("q")
        self._boxes, self._areas = array("f"), array("d")
        self._crowds, self._masks = bytearray(), bytearray()
        self._records = PackedTexts()
        self.faults: list[Finding] = []
        self.count = 0

    def read(self) -> PeopleColumns:
        """All usable people, in the order of the file."""
        for number, record in self._coco.annotations_of(self._coco.person_category()):
            self._add(record, number)
        boxes = np.array(self._boxes, np.float32).reshape(-1, 4)
        boxes.setflags(write=False)  # people hold views of it
        return PeopleColumns(
            image_rows=np.array(self._rows, np.int64),
            ids=np.array(self._ids, np.int64),
            boxes_xyxy=boxes,
            areas=np.array(self._areas, np.float64),
            is_crowd=np.array(self._crowds, np.bool_),
            has_mask=np.array(self._masks, np.bool_),
            records=self._records,
        )

    def _add(self, record: Any, number: int) -> None:
        self.count += 1
        if not isinstance(record, dict):
            text = f"is {shown(record)}, not an object"
            self._note("bad record", f"annotation number {number}", text)
            return
        image_id = record.get("image_id")
        row = self._row_of.get(image_id) if isinstance(image_id, int) else None
        where = f"annotation {shown(record['id']) if 'id' in record else f'number {number}'}"
        if row is None:
            if not isinstance(image_id, int) or image_id not in self._coco.faulty_ids:
                text = f"image_id {shown(image_id)} is not in 'images'"
                self._note("unknown image", where, text)
            return
        where = f"{where} (image {image_id})"
        size_hw = self._coco.images.size_hw(row)
        if fault := _record_fault(record):
            self._note("bad record", where, fault)
        elif fault := _box_fault(record.get("bbox"), size_hw):
            self._note("bad box", where, fault)
        else:
            shape = record.get("segmentation") or None
            if shape is not None and (fault := segmentation_fault(shape, size_hw)):
                self._note("bad mask", where, f"{fault}; kept as a box of unknown shape")
                shape = None
            self._keep(record, row, size_hw, number, shape)

    def _keep(
        self,
        record: Mapping[str, Any],
        row: int,
        size_hw: tuple[int, int],
        number: int,
        shape: Any,
    ) -> None:
        x, y, width, height = (float(value) for value in record["bbox"])
        right, bottom = min(x + width, size_hw[1]), min(y + height, size_hw[0])
        self._rows.append(row)
        self._ids.append(int(record.get("id", number)))
        self._boxes.extend((max(x, 0), max(y, 0), right, bottom))
        self._areas.append(float(record.get("area") or width * height))
        self._crowds.append(bool(record.get("iscrowd", 0)))
        self._masks.append(shape is not None)
        if isinstance(shape, dict):
            shape = {"size": shape["size"], "counts": shape["counts"]}
        self._records.append(b"" if shape is None else msgspec.json.encode(shape))

    def _note(self, kind: str, where: str, text: str) -> None:
        self.faults.append(Finding(kind, where, text))


def _missing_files(
    images: ImageColumns, rows: Iterable[int], folder: Path | PhotoStore
) -> dict[int, Finding]:
    """Photos that are not in the folder, by their row."""
    missing = {}
    for row in rows:
        file = PhotoFile(folder, images.name(row))
        if not file.exists():
            where = f"image {images.ids[row]}"
            missing[row] = Finding("missing image", where, f"{file} does not exist")
    return missing


def refuse_many(
    faults: Sequence[Finding], total: int, what: str, max_share: float, ann_path: Path | str
) -> None:
    """Refuse a file in which too many of ``total`` photos or people are faulty.

    Raises:
        InputError: naming the first of them.
    """
    if len(faults) > max_share * total:
        first = f"{faults[0].where}: {faults[0].text}"
        raise InputError(
            f"{ann_path}: {len(faults)} of {total} {what} are faulty, more than the "
            f"{max_share:.0%} that can be skipped; the first is {first}"
        )


def report_faults(faults: Sequence[Finding], ann_path: Path | str) -> None:
    """Log each kind of fault with its number and the first few."""
    for kind, count in Counter(fault.kind for fault in faults).items():
        some = [fault for fault in faults if fault.kind == kind][:_FAULTS_SHOWN]
        shown = "; ".join(f"{fault.where}: {fault.text}" for fault in some)
        more = f"; and {count - len(some)} more" if count > len(some) else ""
        _LOGGER.warning("%s: skipped %d x %s: %s%s", ann_path, count, kind, shown, more)


def _record_fault(record: Mapping[str, Any]) -> str:
    """What is wrong with an annotation's id and area, or nothing: ``""``."""
    for key in ("id", "area"):
        value = record.get(key, 0)
        if not isinstance(value, (int, float)) or not abs(value) < _HUGE:  # so is NaN
            return f"{key} must be a number, but got {shown(value)}"
    return ""


def _box_fault(box: Any, size_hw: tuple[int, int]) -> str:
    """What is wrong with a COCO box ``[x, y, width, height]``, or nothing: ``""``.

    A box may stick out of the image by up to half its area; the reader clips it.
    """
    if not isinstance(box, list) or len(box) != 4:
        return f"bbox must be [x, y, width, height], but got {shown(box)}"
    try:
        x, y, width, height = (float(value) for value in box)
        finite = all(abs(value) < _HUGE for value in (x, y, width, height))  # so is NaN
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite or any(isinstance(value, str) for value in box):
        return f"bbox {shown(box)} must be finite numbers"
    if width <= 0 or height <= 0:
        return f"bbox {shown(box)} has no area"
    inside_w = min(x + width, size_hw[1]) - max(x, 0)
    inside_h = min(y + height, size_hw[0]) - max(y, 0)
    if inside_w <= 0 or inside_h <= 0 or inside_w * inside_h < width * height / 2:
        return f"bbox {shown(box)} lies outside the image of {size_hw[1]}x{size_hw[0]} pixels"
    return ""

"""Reads COCO-format annotations of people; what is faulty is named, skipped and counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from human_edge_detection.annotation_faults import box_fault, record_fault, shape_fault
from human_edge_detection.coco_json import (
    collector_paused,
    image_sizes,
    person_category,
    read_coco,
)
from human_edge_detection.errors import InputError
from human_edge_detection.structures import FloatArray, ImageArray

_LOGGER = logging.getLogger(__name__)
_FAULTS_SHOWN = 5


@dataclass(frozen=True)
class Person:
    """One annotated person, or a region of many.

    Attributes:
        id: annotation id.
        box_xyxy: float32 [4], source pixels, end-exclusive, clipped to the photo.
        segmentation: COCO polygons or RLE; None where only the box is known.
        is_crowd: True for a region of people that are not told apart.
        area: mask area that the file states, square pixels.
    """

    id: int
    box_xyxy: FloatArray
    segmentation: list[list[float]] | dict[str, Any] | None
    is_crowd: bool
    area: float

    @property
    def has_mask(self) -> bool:
        """Whether more than the box is known."""
        return self.segmentation is not None

    @property
    def is_target(self) -> bool:
        """Whether a mask can be learned from this person."""
        return self.has_mask and not self.is_crowd


@dataclass(frozen=True)
class Photo:
    """One photo and everybody annotated in it.

    Attributes:
        id: image id.
        file_name: path below ``image_dir``.
        size_hw: height and width that the annotations refer to.
        people: at least one of them with a mask of its own.
        image_dir: folder of the photo.
        source: where the photo came from, if the file says so.
        exhaustive: False if people without any annotation may stand in the photo.
    """

    id: int
    file_name: str
    size_hw: tuple[int, int]
    people: tuple[Person, ...]
    image_dir: Path
    source: str = ""
    exhaustive: bool = True

    @property
    def path(self) -> Path:
        """Where the photo lies."""
        return self.image_dir / self.file_name


@dataclass(frozen=True)
class Fault:
    """Something wrong in an annotation file: its kind, the ids it concerns, what was found."""

    kind: str
    where: str
    text: str


@collector_paused()
def load_photos(
    ann_path: Path | str,
    image_dir: Path | str,
    *,
    check_files: bool = True,
    max_fault_share: float = 0.1,
) -> tuple[list[Photo], list[Fault]]:
    """The photos in which somebody has a mask, and the faults that were found and skipped.

    Masks are not decoded here. A person whose mask is faulty stays as one known by the box.

    Args:
        ann_path: COCO-format JSON; other categories than ``person`` are left out.
        image_dir: folder that the images' ``file_name`` starts from.
        check_files: look whether each photo with people exists.
        max_fault_share: largest part of faulty photos, or of faulty people, to go on with.

    Raises:
        InputError: if the file is not COCO annotations, holds no people, or has too many faults.
    """
    content = read_coco(ann_path)
    folder = Path(image_dir)
    if check_files and not folder.is_dir():
        raise InputError(f"{folder}: no such folder of photos (for {ann_path})")
    people_of, faults, count = _group_people(content, ann_path)
    _refuse_many(faults, count, "people", max_fault_share, ann_path)
    photos: list[Photo] = []
    missing: list[Fault] = []
    for record in content["images"]:
        people = people_of.get(record["id"], ())
        if not any(person.is_target for person in people):
            continue
        photo = _photo(record, tuple(people), folder)
        if check_files and not photo.path.is_file():
            text = f"{photo.path} does not exist"
            missing.append(Fault("missing image", f"image {photo.id}", text))
        else:
            photos.append(photo)
    _refuse_many(missing, len(photos) + len(missing), "photos", max_fault_share, ann_path)
    if not photos:
        raise InputError(f"{ann_path}: nobody in it has a mask, so there is nothing to use")
    _report(faults + missing, ann_path)
    return photos, faults + missing


def _group_people(
    content: Mapping[str, Any], ann_path: Path | str
) -> tuple[dict[int, list[Person]], list[Fault], int]:
    category = person_category(content, ann_path)
    sizes = image_sizes(content, ann_path)
    people_of: dict[int, list[Person]] = {}
    faults: list[Fault] = []
    count = 0
    for index, record in enumerate(content["annotations"]):
        if record.get("category_id") != category:
            continue
        count += 1
        where = f"annotation {record.get('id', f'number {index}')}"
        image_id = record.get("image_id")
        size_hw = sizes.get(image_id) if isinstance(image_id, int) else None
        if size_hw is None:
            faults.append(Fault("unknown image", where, f"image_id {image_id} is not in 'images'"))
            continue
        person = _person(record, index, size_hw, f"{where} (image {image_id})", faults)
        if person is not None:
            people_of.setdefault(image_id, []).append(person)
    return people_of, faults, count


def _person(
    record: Mapping[str, Any],
    index: int,
    size_hw: tuple[int, int],
    where: str,
    faults: list[Fault],
) -> Person | None:
    if text := record_fault(record):
        faults.append(Fault("bad record", where, text))
        return None
    if text := box_fault(record.get("bbox"), size_hw):
        faults.append(Fault("bad box", where, text))
        return None
    x, y, width, height = (float(value) for value in record["bbox"])
    limit_h, limit_w = size_hw
    corners = [max(x, 0), max(y, 0), min(x + width, limit_w), min(y + height, limit_h)]
    shape = record.get("segmentation") or None
    if shape is not None and (text := shape_fault(shape, size_hw)):
        faults.append(Fault("bad mask", where, f"{text}; kept as a box of unknown shape"))
        shape = None
    return Person(
        id=int(record.get("id", index)),
        box_xyxy=np.array(corners, np.float32),
        segmentation=shape,
        is_crowd=bool(record.get("iscrowd", 0)),
        area=float(record.get("area") or width * height),
    )


def _photo(record: Mapping[str, Any], people: tuple[Person, ...], image_dir: Path) -> Photo:
    return Photo(
        id=int(record["id"]),
        file_name=str(record["file_name"]),
        size_hw=(int(record["height"]), int(record["width"])),
        people=people,
        image_dir=image_dir,
        source=str(record.get("source", "")),
        exhaustive=bool(record.get("exhaustive", True)),
    )


def _refuse_many(
    faults: Sequence[Fault], total: int, what: str, max_share: float, ann_path: Path | str
) -> None:
    if len(faults) > max_share * total:
        first = f"{faults[0].where}: {faults[0].text}"
        raise InputError(
            f"{ann_path}: {len(faults)} of {total} {what} are faulty, more than the "
            f"{max_share:.0%} that can be skipped; the first is {first}"
        )


def _report(faults: Sequence[Fault], ann_path: Path | str) -> None:
    for kind, count in Counter(fault.kind for fault in faults).items():
        some = [fault for fault in faults if fault.kind == kind][:_FAULTS_SHOWN]
        shown = "; ".join(f"{fault.where}: {fault.text}" for fault in some)
        more = f"; and {count - len(some)} more" if count > len(some) else ""
        _LOGGER.warning("%s: skipped %d x %s: %s%s", ann_path, count, kind, shown, more)


def check_size(photo: Photo, image: ImageArray) -> None:
    """Refuse a picture whose size is not the one its annotations refer to.

    Raises:
        InputError: naming the file and both sizes.
    """
    found = (image.shape[0], image.shape[1])
    if found != photo.size_hw:
        turned = ", it may have been annotated before being turned upright by its EXIF data"
        raise InputError(
            f"{photo.path} has {found[1]}x{found[0]} pixels but its annotations (image "
            f"{photo.id}) are for {photo.size_hw[1]}x{photo.size_hw[0]}"
            f"{turned if found == photo.size_hw[::-1] else ''}: use the photo they were made for"
        )


def decode_mask(person: Person, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The person's mask, bool [H, W], by COCO's own rule of which pixels a polygon covers.

    Raises:
        InputError: if the mask cannot be decoded.
        ValueError: if only the person's box is known.
    """
    shape = person.segmentation
    if shape is None:
        raise ValueError(f"annotation {person.id} has no mask, only a box")
    height, width = size_hw
    try:
        if isinstance(shape, list):
            rle = mask_api.merge(mask_api.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            rle = mask_api.frPyObjects(shape, height, width)
        else:
            rle = shape
        mask = mask_api.decode(rle)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(f"annotation {person.id}: its mask cannot be decoded ({error})") from error
    if mask.shape != size_hw:
        raise InputError(f"annotation {person.id}: its mask is for {mask.shape}, not {size_hw}")
    return np.asarray(mask, np.bool_)

"""Checks of a data set's photos and people, one function per kind of fault."""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image, read_size
from human_edge_detection.core.rle import compress, rle_box
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.annotations import Finding, Person, Photo
from human_edge_detection.data.photos import PhotoFile

BOX_MASK_IOU = 0.7
BOX_MASK_SLACK = 3.0
"""Pixels that an edge of a box may be off its mask, whatever the person's size."""


def file_findings(photo: Photo, *, decode: bool = False) -> Iterator[Finding]:
    """Faults of a photo's file: missing, unreadable, or not of the annotated size.

    ``decode`` reads the pixels too, which finds truncated files.
    """
    where = f"image {photo.id} ({photo.file_name})"
    try:
        if not photo.file.exists():
            yield Finding("missing photo", where, "in none of the folders and archives")
            return
        size_hw = read_image(photo.file).shape[:2] if decode else read_size(photo.file)
    except InputError as error:
        yield Finding("unreadable photo", where, str(error))
        return
    if size_hw != photo.size_hw:
        turned = " (turned: EXIF?)" if size_hw == photo.size_hw[::-1] else ""
        text = f"is {size_hw[1]}x{size_hw[0]}, annotated as {photo.size_hw[1]}x{photo.size_hw[0]}"
        yield Finding("wrong size", where, text + turned)


def people_findings(photo: Photo, min_side: float) -> Iterator[Finding]:
    """Crowd regions, tiny people, people annotated twice, and boxes that do not fit their mask."""
    seen: dict[bytes, int] = {}
    for person in photo.people:
        where = f"annotation {person.id} (image {photo.id})"
        if person.is_crowd:
            yield Finding("crowd region", where, "left out of training and scores, not learned")
            continue
        key = person.box_xyxy.tobytes() + np.float32(person.area).tobytes()
        if key in seen:
            text = f"has the box and area of annotation {seen[key]}"
            yield Finding("person annotated twice", where, text)
        seen.setdefault(key, person.id)
        width, height = (float(side) for side in person.box_xyxy[2:] - person.box_xyxy[:2])
        if min(width, height) < min_side:
            text = f"box of {width:.0f}x{height:.0f} pixels"
            yield Finding("tiny person", where, text)
        if text := _box_against_mask(person, photo.size_hw):
            yield Finding("box does not fit its mask", where, text)


def _box_against_mask(person: Person, size_hw: tuple[int, int]) -> str:
    mask_box = mask_bounds(person, size_hw)
    if mask_box is None:
        return ""
    box = person.box_xyxy
    if np.abs(box - mask_box).max() <= BOX_MASK_SLACK:
        return ""
    iou = float(box_iou(box[None], mask_box[None])[0, 0])
    if iou >= BOX_MASK_IOU:
        return ""
    shown = ", ".join(f"{value:.0f}" for value in mask_box)
    stated = ", ".join(f"{value:.0f}" for value in box)
    return f"the box is {stated} but the mask lies in {shown} (IoU {iou:.2f})"


def mask_bounds(person: Person, size_hw: tuple[int, int]) -> FloatArray | None:
    """The box around a person's mask, float32 [4] xyxy, clipped to the photo.

    It is None where there is no readable mask. Nothing is decoded.
    """
    shape = person.segmentation
    if isinstance(shape, list):
        points = np.concatenate([np.asarray(part, np.float32) for part in shape]).reshape(-1, 2)
        corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
    elif shape is not None:
        try:
            corners = rle_box(compress(shape, size_hw))
        except ValueError:
            return None
    else:
        return None
    limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    clipped: FloatArray = np.clip(corners, 0, limit).astype(np.float32)
    return clipped


def repeated_ids(photos: Iterable[Photo]) -> Iterator[Finding]:
    """Annotations that share their id."""
    first: dict[int, int] = {}
    for photo in photos:
        for person in photo.people:
            if person.id in first:
                text = f"in the images {first[person.id]} and {photo.id}"
                yield Finding("annotation id twice", f"annotation {person.id}", text)
            first.setdefault(person.id, photo.id)


def same_content(files: Iterable[PhotoFile]) -> list[list[Path]]:
    """Groups of files with the same bytes; only files of equal length are read.

    Files that cannot be read belong to no group.
    """
    by_size: dict[int, list[PhotoFile]] = defaultdict(list)
    by_hash: dict[bytes, list[Path]] = defaultdict(list)
    for file in {file.path: file for file in files}.values():
        with contextlib.suppress(InputError):
            by_size[file.size()].append(file)
    for group in by_size.values():
        for file in group if len(group) > 1 else ():
            with contextlib.suppress(InputError):
                by_hash[hashlib.sha256(file.read()).digest()].append(file.path)
    return [group for group in by_hash.values() if len(group) > 1]

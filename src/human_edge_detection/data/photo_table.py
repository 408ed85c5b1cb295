"""Annotated photos as columns of numbers and one buffer of text.

Loader workers share them: reading a column in a forked worker copies no pages of memory, as reading
hundreds of thousands of Python objects would (their reference counts change).
"""

from __future__ import annotations

import os
import posixpath
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import MAX_PIXELS, MAX_SIDE
from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.files import plain_name
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.annotations import Person, Photo
from human_edge_detection.data.photos import PhotoStore

IntArray = NDArray[np.int64]


class PackedTexts:
    """A growing list of byte strings in one buffer."""

    def __init__(self) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        return bytes(self._bytes[self._ends[row] : self._ends[row + 1]])

    def append(self, text: bytes) -> None:
        """Add a text at the end."""
        self._bytes += text
        self._ends.append(len(self._bytes))


class ImageColumns:
    """The entries of ``images``, each field a column.

    Attributes:
        ids: image ids.
        sizes_hw: heights and widths in turn.
        names: ``file_name`` as UTF-8.
        sources: ``source`` as UTF-8, empty where there is none.
        exhaustive: 0 where the photo may show people without an annotation.
    """

    def __init__(self) -> None:
        self.ids, self.sizes_hw = array("q"), array("i")
        self.names, self.sources = PackedTexts(), PackedTexts()
        self.exhaustive = bytearray()

    def __len__(self) -> int:
        return len(self.exhaustive)

    def add(self, record: Any) -> str:
        """Add an entry, or return what makes it unusable."""
        if not isinstance(record, dict):
            return f"is {shown(record)}, not an object"
        identity, name = record.get("id"), record.get("file_name")
        if not isinstance(identity, int) or not abs(identity) < 2**63:
            return f"id {shown(identity)} is not a whole number"
        if fault := _name_fault(name):
            return fault
        try:
            size_hw = int(record["height"]), int(record["width"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            return f"lacks a usable height or width ({type(error).__name__} {error!s:.80})"
        if fault := _size_fault(*size_hw):
            return fault
        self.ids.append(identity)
        self.sizes_hw.extend(size_hw)
        self.names.append(str(name).encode("utf-8", "surrogatepass"))
        self.sources.append(str(record.get("source", "")).encode("utf-8", "surrogatepass"))
        self.exhaustive.append(bool(record.get("exhaustive", True)))
        return ""

    def name(self, row: int) -> str:
        """The ``file_name`` of one entry."""
        return self.names[row].decode("utf-8", "surrogatepass")

    def size_hw(self, row: int) -> tuple[int, int]:
        """Height and width of one entry."""
        return self.sizes_hw[2 * row], self.sizes_hw[2 * row + 1]


def _size_fault(height: int, width: int) -> str:
    if min(height, width) < 1:
        return f"height {height!s:.20} and width {width!s:.20} must be at least 1"
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        return (
            f"height {shown(height, 20)} and width {shown(width, 20)} are more than "
            f"{MAX_PIXELS} pixels or a side of more than {MAX_SIDE}"
        )
    return ""


def _name_fault(name: object) -> str:
    """What is wrong with a ``file_name``, which has to lie below the folder of the photos."""
    try:
        slashed = posixpath.normpath(name.replace(os.sep, "/")) if isinstance(name, str) else ""
        if plain_name(slashed) == slashed:
            return ""
    except InputError:
        pass
    return (
        f"file_name {shown(name)} is not a name below the folder of the photos: write it relative "
        "to that folder"
    )


@dataclass(frozen=True)
class PeopleColumns:
    """Annotated people, one per row.

    Attributes:
        image_rows: int64 [P], the row of each person's photo in ``images``.
        ids: int64 [P], annotation ids.
        boxes_xyxy: float32 [P, 4], source pixels, end-exclusive, clipped to the photo.
        areas: float64 [P], square pixels.
        is_crowd: bool [P].
        has_mask: bool [P].
        records: the ``segmentation`` of each person with a mask as JSON, empty for the others.
    """

    image_rows: IntArray
    ids: IntArray
    boxes_xyxy: FloatArray
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    has_mask: NDArray[np.bool_]
    records: PackedTexts

    @property
    def is_target(self) -> NDArray[np.bool_]:
        """Whether each person has a mask to learn from, bool [P]."""
        return self.has_mask & ~self.is_crowd

    def person(self, row: int) -> Person:
        """The person of a row, with the segmentation parsed."""
        shape = msgspec.json.decode(self.records[row]) if self.has_mask[row] else None
        return Person(
            int(self.ids[row]), self.boxes_xyxy[row], shape, bool(self.is_crowd[row]),
            float(self.areas[row]),
        )  # fmt: skip


class PhotoTable(Sequence[Photo]):
    """Photos of one annotation file, each put together when it is accessed.

    Args:
        images: the file's images.
        people: the people in them.
        rows: int64 [N], the image of each photo.
        image_dir: folder of the photos, or folders and archives.
    """

    def __init__(
        self,
        images: ImageColumns,
        people: PeopleColumns,
        rows: IntArray,
        image_dir: Path | PhotoStore,
    ) -> None:
        self._images, self._people, self._rows = images, people, rows
        self._image_dir = image_dir
        self._order = np.argsort(people.image_rows, kind="stable")
        in_order = people.image_rows[self._order]
        self._first = np.searchsorted(in_order, rows, "left")
        self._last = np.searchsorted(in_order, rows, "right")

    def __len__(self) -> int:
        return len(self._rows)

    # Callers hold a Sequence[Photo], whose overloads give the type of each case.
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return ChosenPhotos((self,), chosen(0, np.arange(len(self))[position]))
        row, images = int(self._rows[position]), self._images
        people = self._order[self._first[position] : self._last[position]]
        return Photo(
            id=images.ids[row],
            file_name=images.name(row),
            size_hw=images.size_hw(row),
            people=tuple(self._people.person(int(person)) for person in people),
            image_dir=self._image_dir,
            source=images.sources[row].decode("utf-8", "surrogatepass"),
            exhaustive=bool(images.exhaustive[row]),
        )


class ChosenPhotos(Sequence[Photo]):
    """Photos of several sequences in any order, with repeats; nothing is copied.

    Args:
        parts: where the photos are.
        places: int64 [N, 2], the part of each photo and its position there.
    """

    def __init__(self, parts: Sequence[Sequence[Photo]], places: IntArray) -> None:
        self._parts, self._places = tuple(parts), places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return ChosenPhotos(self._parts, self._places[position])
        part, place = self._places[position].tolist()
        return self._parts[part][place]


def chosen(part: int, positions: NDArray[np.integer]) -> IntArray:
    """int64 [N, 2] for :class:`ChosenPhotos`: some positions of one part."""
    return np.stack([np.full(len(positions), part, np.int64), positions.astype(np.int64)], axis=1)


def joined(parts: Sequence[Sequence[Photo]]) -> Sequence[Photo]:
    """All photos of several sequences, in order."""
    if len(parts) == 1:
        return parts[0]
    places = [chosen(part, np.arange(len(photos))) for part, photos in enumerate(parts)]
    return ChosenPhotos(parts, np.concatenate(places or [np.zeros((0, 2), np.int64)]))

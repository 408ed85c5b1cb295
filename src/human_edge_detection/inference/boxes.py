"""The boxes of one photo, and how a photo's entry in a box file is found by its path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Protocol

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import FloatArray

MAX_DIGITS = 16
"""File names of fewer digits can be image ids."""


@dataclass(frozen=True)
class BoxRow:
    """One box as it was read, before any check.

    Attributes:
        xyxy: the four numbers.
        score: the person's score.
        where: line, row or id that messages name.
        annotation_id: the file's own id of the box, or None.
    """

    xyxy: tuple[float, ...]
    score: float
    where: str
    annotation_id: int | None = None


@dataclass(frozen=True)
class ImageBoxes:
    """The people of one photo as a box file lists them.

    Attributes:
        boxes_xyxy: float32 [N, 4], pixels of the upright photo, or fractions of its sides
            if ``relative``.
        scores: float32 [N]; ones where the file has none.
        annotation_ids: the file's own ids, one per box, or None.
        image_id: the file's id of the photo, or None.
        file_name: the photo's name as the file writes it, or None.
        size_hw: the photo's size as the file gives it, or None.
        relative: whether boxes are fractions of the photo's width and height.
        faults: what was wrong with the boxes that were left out, one line each.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    annotation_ids: tuple[int, ...] | None = None
    image_id: int | None = None
    file_name: str | None = None
    size_hw: tuple[int, int] | None = None
    relative: bool = False
    faults: tuple[str, ...] = ()

    @classmethod
    def from_rows(cls, rows: Iterable[BoxRow]) -> ImageBoxes:
        """The rows that can be used as boxes; the others become ``faults``."""
        good: list[BoxRow] = []
        faults: list[str] = []
        for row in rows:
            fault = _fault(row)
            if fault:
                faults.append(f"{row.where}: {fault}")
            else:
                good.append(row)
        ids = [row.annotation_id for row in good if row.annotation_id is not None]
        return cls(
            np.array([row.xyxy for row in good], np.float32).reshape(-1, 4),
            np.array([row.score for row in good], np.float32),
            annotation_ids=tuple(ids) if len(ids) == len(good) > 0 else None,
            faults=tuple(faults),
        )

    def for_photo(self, size_hw: tuple[int, int]) -> ImageBoxes:
        """The boxes in pixels of the upright photo of ``size_hw``; those outside become faults.

        Raises:
            InputError: the box file states another size of the photo, so that its boxes do not fit.
        """
        height, width = size_hw
        if self.size_hw is not None and self.size_hw != size_hw:
            turned = self.size_hw == (width, height)
            raise InputError(
                f"the photo is {width}x{height} (width x height), but the box file states "
                f"{self.size_hw[1]}x{self.size_hw[0]}"
                + (": boxes must refer to the photo turned upright" if turned else "")
            )
        scale = np.array([width, height] * 2 if self.relative else [1] * 4, np.float32)
        boxes = self.boxes_xyxy * scale
        inside = (boxes[:, :2] < [width, height]).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        outside = tuple(
            f"box {boxes[row].tolist()} lies outside the photo of {width}x{height}"
            for row in np.flatnonzero(~inside)
        )
        ids = self.annotation_ids
        return replace(
            self,
            boxes_xyxy=boxes[inside],
            scores=self.scores[inside],
            annotation_ids=ids and tuple(ids[row] for row in np.flatnonzero(inside)),
            relative=False,
            faults=self.faults + outside,
        )

    def at_most(self, most: int, name: object) -> ImageBoxes:
        """The boxes themselves.

        Raises:
            InputError: there are more than ``most``, naming the photo.
        """
        if (count := len(self.boxes_xyxy)) > most:
            raise InputError(
                f"{name} has {count} boxes, more than max_people {most}: leave some out, or raise "
                "the limit if the memory allows it (some 0.15 MB each)"
            )
        return self


def _fault(row: BoxRow) -> str:
    x1, y1, x2, y2 = row.xyxy
    with np.errstate(over="ignore"):
        stored = np.array([*row.xyxy, x2 - x1, y2 - y1, row.score], np.float32)
    if not np.isfinite(stored).all():
        return f"box {list(row.xyxy)} with score {row.score} is not finite, or beyond 32-bit floats"
    if x2 < x1 or y2 < y1:
        return f"box {list(row.xyxy)} is reversed"
    if x2 == x1 or y2 == y1:
        return f"box {list(row.xyxy)} is empty"
    return ""


class BoxFile(Protocol):
    """A source of boxes for many photos."""

    def key(self, path: str) -> str | None:
        """The box file's name of the photo at ``path``; None if it has no entry of the photo."""

    def read(self, key: str) -> ImageBoxes:
        """The boxes of the photo that :meth:`key` found."""


class NamedBoxes:
    """Boxes held in memory, one entry per photo's name."""

    def __init__(self, entries: Mapping[str, ImageBoxes], source: str) -> None:
        """Index the entries by name and by bare file name.

        Args:
            entries: boxes by file name, with or without folders.
            source: the box file, for messages.
        """
        self._entries = entries
        self._source = source
        self._by_file_name: dict[str, list[str]] = {}
        for name in entries:
            self._by_file_name.setdefault(PurePath(name).name, []).append(name)

    def key(self, path: str) -> str | None:
        """The entry whose name ends the path, or the only one of that file name.

        Raises:
            InputError: several entries have that file name, and none the path's folders.
        """
        for ending in path_endings(path):
            if ending in self._entries:
                return ending
        names = self._by_file_name.get(PurePath(path).name, [])
        if len(names) > 1:
            raise InputError(
                f"boxes {self._source}: {path} could be {names[0]} or {names[1]}: name the "
                "photo with its folders"
            )
        return names[0] if names else None

    def read(self, key: str) -> ImageBoxes:
        """The entry's boxes."""
        return self._entries[key]


class NumberedBoxes:
    """Boxes held in memory by image id, which is the number that is the photo's file name."""

    def __init__(self, entries: Mapping[int, ImageBoxes]) -> None:
        """Index the entries by their ids."""
        self._entries = entries

    def key(self, path: str) -> str | None:
        """The number in the file's name, if there is an entry of that id."""
        stem = PurePath(path).stem
        is_number = stem.isdecimal() and len(stem) < MAX_DIGITS
        return str(int(stem)) if is_number and int(stem) in self._entries else None

    def read(self, key: str) -> ImageBoxes:
        """The entry's boxes."""
        return self._entries[int(key)]


def path_endings(path: str) -> Iterator[str]:
    """The path without its first 0, 1, 2 … parts, with forward slashes, longest first."""
    parts = PurePath(path).parts
    for first in range(len(parts)):
        yield PurePath(*parts[first:]).as_posix()

"""Finds out what a COCO file of any size holds and where, and refuses what is none."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.json_stream import EXACT, SKIM, JsonStream
from human_edge_detection.data.photo_table import ImageColumns

LISTS = ("images", "annotations", "categories")
IntArray = NDArray[np.int64]


@contextmanager
def reading(ann_path: Path | str) -> Iterator[None]:
    """Turns what goes wrong while an annotation file is read into an :class:`InputError`."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{ann_path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, nested without end
        raise InputError(f"{ann_path} is not JSON ({error}): is the file whole?") from error


class AnnotationIndex:
    """What a COCO file holds and where, found in one pass; its annotations stay in the file.

    Attributes:
        path: the file.
        images: its images.
        categories: its categories.
        spans: start and end, in bytes, of each member of the file, in order.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.images, self.categories = ImageColumns(), list[Any]()
        self.spans: dict[str, tuple[int, int]] = {}
        self._counts: Counter[str] = Counter()
        self._places: dict[Any, array[int]] = {}

    def read_members(self, stream: JsonStream) -> None:
        """Read the file, which must be an object."""
        for key in stream.members():
            is_list = stream.peek() == "["
            start = stream.offset
            if is_list and key == "images":
                self._read_images(stream)
            elif is_list and key == "annotations":
                self._read_annotations(stream)
            elif is_list and key == "categories":
                self.categories = stream.value()
                self._counts[key] = len(self.categories)
            else:
                stream.skip()
                self._counts.pop(key, None)
            self.spans[key] = (start, stream.offset)

    def _read_images(self, stream: JsonStream) -> None:
        self.images = ImageColumns()
        count = 0
        for record, start, stop in stream.elements(EXACT):
            self.images.add(record, start, stop)
            count += 1
        self._counts["images"] = count

    def _read_annotations(self, stream: JsonStream) -> None:
        self._places = {}
        count = 0
        for record, start, stop in stream.elements(SKIM):
            category = record.get("category_id") if isinstance(record, dict) else None
            # What is not a plain number, such as 1.0, is looked at again when its turn comes.
            key = category if isinstance(category, int) else None
            if key not in self._places:
                self._places[key] = array("q")
            self._places[key].extend((count, start, stop))
            count += 1
        self._counts["annotations"] = count

    def check(self) -> None:
        """Refuse a file that lacks one of the three lists, or in which one is empty or unusable.

        Raises:
            InputError: naming the list, or the entry of ``images``.
        """
        for key in LISTS:
            if key not in self._counts:
                raise InputError(
                    f"{self.path} is not a COCO annotation file: it has no list '{key}'; "
                    "give an instances_*.json"
                )
            if not self._counts[key]:
                raise InputError(f"{self.path}: its list '{key}' is empty, there is nothing to use")
        if self.images.fault:
            raise InputError(f"{self.path}: {self.images.fault}")
        if len(set(self.images.ids)) < len(self.images.ids):
            twice = Counter(self.images.ids).most_common(1)[0][0]
            raise InputError(f"{self.path}: image id {twice} stands for several images")

    def person_category(self) -> int:
        """The id of the category named ``person``, or of the only category.

        Raises:
            InputError: if there are several categories and none of that name.
        """
        records = [item for item in self.categories if isinstance(item, dict)]
        names = {str(item.get("name", "")): item.get("id") for item in records}
        for name, identity in names.items():
            if name.lower() == "person" or len(self.categories) == 1:
                if isinstance(identity, (int, float)):
                    return int(identity)
                raise InputError(f"{self.path}: the id of category '{name}' is no number")
        raise InputError(
            f"{self.path}: no category is named 'person'; there are {', '.join(names)}"
        )

    def places_of(self, category: int) -> IntArray:
        """Number, start and end, int64 [A, 3], of each annotation that may be of a category."""
        empty = array("q")
        found = [self._places.get(key, empty) for key in (category, None)]
        places = np.concatenate([np.asarray(part, np.int64).reshape(-1, 3) for part in found])
        return places[np.argsort(places[:, 0], kind="stable")]


def read_index(ann_path: Path | str) -> AnnotationIndex:
    """What a COCO-format JSON file holds, with its three lists present and not empty.

    Raises:
        InputError: if the file is missing, is not JSON, or is not COCO annotations.
    """
    index = AnnotationIndex(ann_path)
    with reading(ann_path), open(ann_path, "rb") as file:
        stream = JsonStream(file)
        if stream.peek() == "{":
            index.read_members(stream)
        else:
            stream.skip()
        stream.take("")
    index.check()
    return index


def read_parts(ann_path: Path | str, parts: Iterable[Sequence[int]]) -> Iterator[bytes]:
    """The bytes of the file between each start and end.

    Raises:
        InputError: if the file is gone by now.
    """
    with reading(ann_path), open(ann_path, "rb") as file:
        for start, stop in parts:
            file.seek(start)
            yield file.read(stop - start)

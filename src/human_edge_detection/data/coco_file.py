"""A COCO file of any size: its images as columns, its annotations as undecoded text."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.files import check_regular
from human_edge_detection.data.annotations import Finding
from human_edge_detection.data.photo_table import ImageColumns

Text = msgspec.Raw | bytes
"""A JSON value as it stands in the file; ``Raw`` is a view of the file's bytes."""

_PYTHON_ONLY = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
"""What Python's ``json`` reads and writes but strict JSON excludes: NaN and lone surrogates."""


class _Category(msgspec.Struct):
    category_id: Any = None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_category = msgspec.json.Decoder(_Category).decode


@contextmanager
def reading(ann_path: Path | str) -> Iterator[None]:
    """Turn errors while an annotation file is read into an :class:`InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{ann_path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # bad JSON, bad UTF-8, endless nesting
        if isinstance(error, InputError):
            raise
        raise InputError(f"{ann_path} is not JSON ({error!s:.200}): is the file whole?") from error


class CocoFile:
    """A COCO-format JSON file with its three lists, none of them empty.

    The bytes of the file stay in memory as long as this object: views of them are its texts.

    Args:
        path: the file.

    Attributes:
        images: the usable entries of ``images`` as columns.
        image_texts: each of these entries.
        faults: what is wrong with the other entries of ``images``.
        faulty_ids: the ids of these, as far as they have one.
        annotation_texts: each entry of ``annotations``.
        categories: the entries of ``categories``.
        members: each member of the file, in order.

    Raises:
        InputError: if the file is missing, is not a regular file, is not JSON, or is not COCO
            annotations.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self.images = path, ImageColumns()
        self.image_texts: list[Text] = []
        self.faults: list[Finding] = []
        self.faulty_ids: set[int] = set()
        check_regular(Path(path), "annotation")
        with reading(path):
            self.members = _split_object(Path(path).read_bytes().removeprefix(codecs.BOM_UTF8))
            texts = [self._list(key) for key in ("images", "annotations", "categories")]
            images, self.annotation_texts, categories = texts
            self.categories = [_content(text) for text in categories]
            for number, text in enumerate(images):
                self._add_image(number, text)
        if len(set(self.images.ids)) < len(self.images.ids):
            twice = Counter(self.images.ids).most_common(1)[0][0]
            raise InputError(f"{path}: image id {twice} stands for several images")

    def _add_image(self, number: int, text: Text) -> None:
        record = _content(text)
        if not (fault := self.images.add(record)):
            self.image_texts.append(text)
            return
        identity = record.get("id") if isinstance(record, dict) else None
        where = f"image number {number}"
        if isinstance(identity, int):
            self.faulty_ids.add(identity)
            where = f"image {shown(identity)}"
        self.faults.append(Finding("bad image", where, fault))

    def _list(self, key: str) -> Sequence[Text]:
        elements = _split_list(self.members.get(key, b"null"))
        if elements is None:
            raise InputError(
                f"{self.path} is not a COCO annotation file: it has no list '{key}'; "
                "give an instances_*.json"
            )
        if not elements:
            raise InputError(f"{self.path}: its list '{key}' is empty, there is nothing to use")
        return elements

    def person_category(self) -> int:
        """The id of the category named ``person``, or of the only category.

        Raises:
            InputError: if there are several categories and none of that name.
        """
        records = [item for item in self.categories if isinstance(item, dict)]
        names = {str(item.get("name", "")): item.get("id") for item in records}
        for name, identity in names.items():
            if name.lower() == "person" or len(self.categories) == 1:
                if isinstance(identity, int | float) and identity % 1 == 0:  # so is no NaN
                    return int(identity)
                raise InputError(
                    f"{self.path}: the id of category {shown(name)} must be a whole number, but "
                    f"got {shown(identity)}"
                )
        some = ", ".join(shown(name)[1:-1] for name in list(names)[:8])
        raise InputError(
            f"{self.path}: no category is named 'person' among its {len(names)}: {some}"
        )

    def annotations_of(self, category: int) -> Iterator[tuple[int, Any]]:
        """Number and content of each annotation of a category, and of those that are none.

        Raises:
            InputError: if one cannot be decoded.
        """
        with reading(self.path):
            for number, text in enumerate(self.annotation_texts):
                try:
                    found = _category(text).category_id
                except msgspec.DecodeError:  # not an object, or not strict JSON
                    found = category
                if found == category:
                    record = _content(text)
                    if not isinstance(record, dict) or record.get("category_id") == category:
                        yield number, record


def _content(text: Text) -> Any:
    """The value of a JSON text, as :mod:`json` reads it, in a third of the time."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # also numbers beyond floats, which become infinite
        return _loads(bytes(text))


def _loads(data: bytes) -> Any:
    """The content of a JSON text, with integers that Python refuses to read as infinite ones."""
    return json.loads(data, parse_int=_integer)


def _integer(digits: str) -> float:
    most = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else 0
    return int(digits) if len(digits) <= (most or 4300) else float(digits)


def _split_object(data: bytes) -> Mapping[str, Text]:
    """The members of a JSON object, undecoded; none if it is no object."""
    try:
        return _members(data)
    except msgspec.ValidationError:
        return {}
    except msgspec.DecodeError:
        if not _PYTHON_ONLY.search(data):
            raise
    content = _loads(data)
    members = content.items() if isinstance(content, dict) else ()
    return {key: json.dumps(value).encode() for key, value in members}


def _split_list(text: Text) -> Sequence[Text] | None:
    """The elements of a JSON array, undecoded; None if it is no array."""
    try:
        return _elements(text)
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError:
        content = _loads(bytes(text))
    return [json.dumps(item).encode() for item in content] if isinstance(content, list) else None

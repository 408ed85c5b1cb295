"""A COCO file of any size: its images as columns, its annotations as undecoded text."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from human_edge_detection.core.errors import InputError
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
        raise InputError(f"{ann_path} is not JSON ({error}): is the file whole?") from error


class CocoFile:
    """A COCO-format JSON file with its three lists, none of them empty.

    The bytes of the file stay in memory as long as this object: views of them are its texts.

    Args:
        path: the file.

    Attributes:
        images: the entries of ``images`` as columns.
        image_texts: each entry of ``images``.
        annotation_texts: each entry of ``annotations``.
        categories: the entries of ``categories``.
        members: each member of the file, in order.

    Raises:
        InputError: if the file is missing, is not JSON, or is not COCO annotations.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, self.images = path, ImageColumns()
        with reading(path):
            self.members = _split_object(Path(path).read_bytes().removeprefix(codecs.BOM_UTF8))
            texts = [self._list(key) for key in ("images", "annotations", "categories")]
            self.image_texts, self.annotation_texts, categories = texts
            self.categories = [_content(text) for text in categories]
            for text in self.image_texts:
                self.images.add(_content(text))
        if self.images.fault:
            raise InputError(f"{path}: {self.images.fault}")
        if len(set(self.images.ids)) < len(self.images.ids):
            twice = Counter(self.images.ids).most_common(1)[0][0]
            raise InputError(f"{path}: image id {twice} stands for several images")

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
                if isinstance(identity, (int, float)):
                    return int(identity)
                raise InputError(f"{self.path}: the id of category '{name}' is no number")
        raise InputError(
            f"{self.path}: no category is named 'person'; there are {', '.join(names)}"
        )

    def annotations_of(self, category: int) -> Iterator[tuple[int, bytes, Any]]:
        """Number, text and content of each annotation of a category, and of those that are none.

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
                        yield number, bytes(text), record


def _content(text: Text) -> Any:
    """The value of a JSON text, as :mod:`json` reads it, in a third of the time."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:  # also numbers beyond floats, which json reads as infinity
        return json.loads(bytes(text))


def _split_object(data: bytes) -> Mapping[str, Text]:
    """The members of a JSON object, undecoded; none if it is no object."""
    try:
        return _members(data)
    except msgspec.ValidationError:
        return {}
    except msgspec.DecodeError:
        if not _PYTHON_ONLY.search(data):
            raise
    content = json.loads(data)
    members = content.items() if isinstance(content, dict) else ()
    return {key: json.dumps(value).encode() for key, value in members}


def _split_list(text: Text) -> Sequence[Text] | None:
    """The elements of a JSON array, undecoded; None if it is no array."""
    try:
        return _elements(text)
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError:
        content = json.loads(bytes(text))
    return [json.dumps(item).encode() for item in content] if isinstance(content, list) else None

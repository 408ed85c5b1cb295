"""Opens COCO JSON files and refuses what is none, before anything is built on it."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from human_edge_detection.errors import InputError


@contextmanager
def collector_paused() -> Iterator[None]:
    """No cyclic garbage collection meanwhile: a million new objects, none of them garbage.

    Without it, a third of the time to load COCO goes into looking through them again and again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@collector_paused()
def read_coco(ann_path: Path | str) -> dict[str, Any]:
    """The content of a COCO-format JSON file with its three lists present and not empty.

    Raises:
        InputError: if the file is missing, is not JSON, or is not COCO annotations.
    """
    try:
        loaded = json.loads(Path(ann_path).read_bytes())
    except OSError as error:
        raise InputError(f"{ann_path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # bad JSON, bad UTF-8
        raise InputError(f"{ann_path} is not JSON ({error}): is the file whole?") from error
    content: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise InputError(
                f"{ann_path} is not a COCO annotation file: it has no list '{key}'; "
                "give an instances_*.json"
            )
        if not content[key]:
            raise InputError(f"{ann_path}: its list '{key}' is empty, there is nothing to use")
    return content


def person_category(content: Mapping[str, Any], ann_path: Path | str) -> int:
    """The id of the category named ``person``, or of the only category.

    Raises:
        InputError: if there are several categories and none of that name.
    """
    names = {item.get("name", ""): item.get("id") for item in content["categories"]}
    for name, identity in names.items():
        if str(name).lower() == "person" or len(content["categories"]) == 1:
            return int(identity)
    raise InputError(
        f"{ann_path}: no category is named 'person'; there are {', '.join(map(str, names))}"
    )


def image_sizes(content: Mapping[str, Any], ann_path: Path | str) -> dict[int, tuple[int, int]]:
    """Height and width by image id.

    Raises:
        InputError: if an image lacks a field, or if two share an id.
    """
    try:
        sizes = {im["id"]: (int(im["height"]), int(im["width"])) for im in content["images"]}
        names = [str(image["file_name"]) for image in content["images"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{ann_path}: an entry of 'images' lacks a usable id, file_name, height or width "
            f"({error!r})"
        ) from error
    if texts := [identity for identity in sizes if not isinstance(identity, int)]:
        raise InputError(f"{ann_path}: image id {texts[0]!r} is not a whole number")
    if len(sizes) < len(names):
        twice = Counter(image["id"] for image in content["images"]).most_common(1)[0][0]
        raise InputError(f"{ann_path}: image id {twice} stands for several images")
    return sizes

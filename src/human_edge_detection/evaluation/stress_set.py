"""A crowd set without downloads: annotated people pasted over each other, more and more."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.data.annotations import Person, Photo, decode_mask
from human_edge_detection.evaluation.evaluate import nearest_overlap, reaches_edge
from human_edge_detection.evaluation.metrics import BoolArray
from human_edge_detection.evaluation.occlusion import (
    Cutout,
    cut_person,
    find_places,
    paste_person,
    placed,
)

LOG = logging.getLogger(__name__)

COVERS = tuple(round(0.1 * step, 1) for step in range(10))
"""Parts of the person behind that the one in front covers, one picture each."""

LEAST_SIDE = 48.0
"""Shortest box side, source pixels, of the people used."""

UPRIGHT = 1.3
"""Least height of the people used, as a part of their width: it leaves out most lone limbs."""

SCALES = (1.0, 1.2, 1.45)
"""Heights tried for the person in front, as parts of the other's height."""

ATTEMPTS = 40
"""Pairs tried for each one that is wanted."""


@dataclass(frozen=True)
class StressPair:
    """Two people and where the one in front must stand for each of ``COVERS``.

    Attributes:
        photo: whose people are covered.
        behind: the person to be covered.
        front: the person to paste.
        top: upper edge of ``front``, pixels.
        lefts: left edge of ``front`` for each of ``COVERS``.
    """

    photo: Photo
    behind: Person
    front: Cutout
    top: int
    lefts: tuple[int, ...]


def write_stress_set(photos: Sequence[Photo], folder: Path, pairs: int, seed: int = 0) -> Path:
    """Write ``stress.json`` and its pictures; the annotation file's path comes back.

    Each pair of people gives one picture for each of ``COVERS``. Annotations of the pair tell
    their ``role``, "front" or "behind", and what part of the one behind is ``covered``.

    Args:
        photos: annotated photos to take people from.
        folder: made if absent.
        pairs: how many pairs of people.
        seed: the same seed and photos give the same set.

    Raises:
        InputError: if the photos have no two people that can be combined.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for pair in find_pairs(photos, pairs, seed):
        original = read_image(pair.photo.file)
        for cover, left in zip(COVERS, pair.lefts, strict=True):
            name = f"stress_{len(images):04d}.jpg"
            save_image(folder / name, paste_person(original, pair.front, left, pair.top))
            height, width = pair.photo.size_hw
            number = len(images) + 1
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            for record in _annotations(pair, cover, left):
                own = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
                annotations.append({**own, **record})
    if not images:
        raise InputError(
            f"no two people of the annotations can be combined: they need to stand alone, inside "
            f"the photo, upright, with box sides of at least {LEAST_SIDE:g} pixels"
        )
    path = folder / "stress.json"
    categories = [{"id": 1, "name": "person"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_atomically(path, json.dumps(content).encode())
    LOG.info("%d pictures of people in front of each other: %s", len(images), path)
    return path


def find_pairs(photos: Sequence[Photo], count: int, seed: int = 0) -> Iterator[StressPair]:
    """Up to ``count`` pairs of people that fit each other, nobody twice behind."""
    rng = np.random.default_rng(seed)
    usable = [(photo, p) for photo in photos if photo.exhaustive for p in photo.people]
    usable = [(photo, person) for photo, person in usable if is_usable(photo, person)]
    order = rng.permutation(len(usable))
    found = 0
    for index in order[: count * ATTEMPTS]:
        photo, behind = usable[int(index)]
        for other in rng.permutation(len(usable))[:6]:
            source, person = usable[int(other)]
            if found < count and source.id != photo.id:
                pair = fit_pair(photo, behind, source, person, rng)
                if pair is not None:
                    found += 1
                    yield pair
                    break
    if found < count:
        LOG.warning("only %d of %d pairs of people fit each other", found, count)


def is_usable(photo: Photo, person: Person) -> bool:
    """Whether a person stands whole, alone and large enough to be combined."""
    sides = person.box_xyxy[2:] - person.box_xyxy[:2]
    return (
        person.is_target
        and float(sides.min()) >= LEAST_SIDE
        and float(sides[1]) >= UPRIGHT * float(sides[0])
        and not reaches_edge(person.box_xyxy, photo.size_hw)
        and nearest_overlap(person, photo) < 0.05
    )


def fit_pair(
    photo: Photo, behind: Person, source: Photo, person: Person, rng: np.random.Generator
) -> StressPair | None:
    """One person of ``source`` made to cover another of ``photo``, or None if it cannot."""
    truth, mask = decode_mask(behind, photo.size_hw), decode_mask(person, source.size_hw)
    if not truth.any() or not mask.any():
        return None
    cutout = cut_person(read_image(source.file), mask)
    cutout = cutout.mirrored() if rng.random() < 0.5 else cutout
    rows = np.flatnonzero(truth.any(axis=1))
    height, bottom = int(rows[-1] + 1 - rows[0]), int(rows[-1]) + 1
    from_left = bool(rng.random() < 0.5)
    for scale in SCALES:
        factor = scale * height / cutout.mask.shape[0]
        if not 0.3 <= factor <= 2:  # blown up or shrunk, it would be told by its sharpness
            continue
        front = cutout.scaled(factor)
        top = bottom + round(0.03 * height) - front.mask.shape[0]
        lefts = find_places(front, truth, top, COVERS, from_left)
        if lefts is not None:
            return StressPair(photo, behind, front, top, tuple(lefts))
    return None


def _annotations(pair: StressPair, cover: float, left: int) -> Iterator[dict[str, Any]]:
    """The people of one picture: the one in front, the one behind, all others of the photo."""
    front = placed(pair.front.mask, left, pair.top, pair.photo.size_hw)
    yield _annotation(front) | {"role": "front", "covered": cover}
    for person in pair.photo.people:
        if person.is_target:
            shown = decode_mask(person, pair.photo.size_hw) & ~front
            role = {"role": "behind", "covered": cover} if person is pair.behind else {}
            if shown.any():
                yield _annotation(shown) | role
        else:
            x1, y1, x2, y2 = (float(value) for value in person.box_xyxy)
            yield {
                "iscrowd": int(person.is_crowd),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": person.area,
                "segmentation": person.segmentation or [],
            }


def _annotation(mask: BoolArray) -> dict[str, Any]:
    rle = encode_mask(mask)
    return {
        "iscrowd": 0,
        "bbox": [float(value) for value in mask_api.toBbox(rle)],
        "area": int(mask.sum()),
        "segmentation": rle,
    }

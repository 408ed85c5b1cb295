"""People pasted over people: pixels, masks and boxes agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.data.annotations import Person, Photo, decode_mask
from human_edge_detection.data.augment import (
    MIN_VISIBLE,
    Cutout,
    cut_person,
    paste_cutout,
    paste_person,
)
from human_edge_detection.data.targets import PhotoMasks, roi_targets

SIZE = (80, 100)
FRONT = 250


def rectangle(number: int, x1: int, y1: int, x2: int, y2: int) -> Person:
    outline = [float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]
    box = np.array([x1, y1, x2, y2], np.float32)
    return Person(number, box, [outline], False, float((x2 - x1) * (y2 - y1)))


def host() -> tuple[np.ndarray, Photo]:
    image = np.full((*SIZE, 3), 10, np.uint8)
    image[20:70, 30:50] = 100
    people = (rectangle(7, 30, 20, 50, 70), rectangle(8, 60, 40, 90, 78))
    return image, Photo(1, "a.png", SIZE, people, Path("."))


def cutout() -> Cutout:
    return Cutout(np.full((50, 20, 3), FRONT, np.uint8), np.ones((50, 20), np.bool_))


def test_cut_person_holds_the_person_alone() -> None:
    image, photo = host()
    found = cut_person(image, photo, np.random.default_rng(0), min_side=20)
    assert found is not None
    assert found.mask.all()
    assert found.image.shape[:2] in {(50, 20), (38, 30)}
    assert cut_person(image, photo, np.random.default_rng(0), min_side=40) is None


@pytest.mark.parametrize("seed", range(8))
def test_what_is_pasted_is_what_its_mask_says(seed: int) -> None:
    image, photo = host()
    before = image.copy()
    pasted, changed = paste_person(image, photo, cutout(), np.random.default_rng(seed))
    assert np.array_equal(image, before)
    front = changed.people[-1]
    assert front.id == -1
    mask = decode_mask(front, SIZE)
    assert (pasted[mask] == FRONT).mean() > 0.7  # only the outermost pixels are mixed
    assert np.array_equal(pasted[~_grown(mask)], before[~_grown(mask)])
    rows, columns = np.nonzero(mask)
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert front.box_xyxy.tolist() == expected


@pytest.mark.parametrize("seed", range(8))
def test_people_behind_keep_what_stays_visible(seed: int) -> None:
    image, photo = host()
    _, changed = paste_person(image, photo, cutout(), np.random.default_rng(seed))
    front = decode_mask(changed.people[-1], SIZE)
    old = {person.id: decode_mask(person, SIZE) for person in photo.people}
    for person in changed.people[:-1]:
        mask = decode_mask(person, SIZE)
        assert np.array_equal(mask, old[person.id] & ~front)
        assert person.is_target == (mask.sum() >= MIN_VISIBLE * old[person.id].sum())


def test_pasted_person_is_somebody_else_in_the_covered_ones_target() -> None:
    image, photo = host()
    for seed in range(20):
        _, changed = paste_person(image, photo, cutout(), np.random.default_rng(seed))
        covered, front = changed.people[0], decode_mask(changed.people[-1], SIZE)
        old = decode_mask(photo.people[0], SIZE)
        if covered.is_target and (front & old).any():
            roi = np.array([[30, 20, 50, 70]], np.float32)
            labels = roi_targets(PhotoMasks(changed), roi, np.array([0]), 10)[0]
            assert set(labels.flatten().tolist()) >= {1, 2}
            return
    pytest.fail("nobody was covered in part")


def test_people_known_by_a_box_stay_so() -> None:
    image, photo = host()
    boxed = replace(photo.people[1], segmentation=None)
    photo = replace(photo, people=(photo.people[0], boxed))
    _, changed = paste_person(image, photo, cutout(), np.random.default_rng(3))
    assert not changed.people[1].has_mask


def _grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifts = [(y, x) for y in range(3) for x in range(3)]
    return np.any([padded[y : y + height, x : x + width] for y, x in shifts], axis=0)


def test_a_cutout_beyond_the_edge_is_cut_off() -> None:
    pasted, front = paste_cutout(np.zeros((*SIZE, 3), np.uint8), cutout(), -10, 50)
    assert front.sum() == 10 * 30
    assert pasted[~front].max() == 0
    assert pasted[60, 2].tolist() == [FRONT] * 3
    assert not paste_cutout(pasted, cutout(), 200, 0)[1].any()

"""One square in front of another: places, parts and pixels are known."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.evaluation.occlusion import (
    Cutout,
    covered_part,
    cut_person,
    find_places,
    paste_person,
    placed,
)

SIZE = (60, 100)
BEHIND = np.zeros(SIZE, bool)
BEHIND[20:40, 40:60] = True
SQUARE = Cutout(np.full((20, 20, 3), 200, np.uint8), np.ones((20, 20), bool))


def test_a_person_is_cut_to_its_extent() -> None:
    image = np.arange(60 * 100 * 3, dtype=np.uint32).reshape(60, 100, 3).astype(np.uint8)
    cutout = cut_person(image, BEHIND)
    assert cutout.mask.shape == (20, 20)
    np.testing.assert_array_equal(cutout.pixels, image[20:40, 40:60])


@pytest.mark.parametrize(("left", "part"), [(20, 0.0), (30, 0.5), (40, 1.0), (55, 0.25)])
def test_covered_part(left: int, part: float) -> None:
    assert covered_part(SQUARE, BEHIND, left, 20) == pytest.approx(part)


@pytest.mark.parametrize(("from_left", "expected"), [(True, [20, 30, 38]), (False, [60, 50, 42])])
def test_places_come_from_the_side_asked_for(from_left: bool, expected: list[int]) -> None:
    assert find_places(SQUARE, BEHIND, 20, (0.0, 0.5, 0.9), from_left) == expected


def test_what_cannot_be_covered_or_shown_is_refused() -> None:
    low = Cutout(SQUARE.pixels[:10], SQUARE.mask[:10])
    assert find_places(low, BEHIND, 30, (0.9,), True) is None
    at_the_edge = np.roll(BEHIND, -40, axis=1)
    assert find_places(SQUARE, at_the_edge, 20, (0.0,), True) is None


def test_pasting_outside_is_cut_off() -> None:
    mask = placed(SQUARE.mask, -10, 50, SIZE)
    assert mask.sum() == 10 * 10
    image = np.zeros((*SIZE, 3), np.uint8)
    pasted = paste_person(image, SQUARE, -10, 50)
    assert pasted[~mask].max() == 0
    assert pasted[55, 2].tolist() == [200, 200, 200]
    assert not placed(SQUARE.mask, 200, 0, SIZE).any()


def test_scaling_and_mirroring() -> None:
    half = Cutout(SQUARE.pixels, SQUARE.mask & (np.arange(20) < 10))
    assert half.scaled(2).mask.sum() == 20 * 40
    assert half.mirrored().mask[:, 10:].all()
    assert not half.mirrored().mask[:, :10].any()

"""Random views: what they may change, and that boxes follow the picture."""

from __future__ import annotations

import numpy as np
import pytest

from human_edge_detection.core.geometry import letterbox
from human_edge_detection.data.augment import Augmentation, jitter_boxes, jitter_color, random_view


def checked_photo() -> np.ndarray:
    """A photo 40x60 that is black but for a white block at x 12…30, y 8…20."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[8:20, 12:30] = 255
    return image


BLOCK = np.array([[12, 8, 30, 20]], np.float32)


def bright_box(view: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(view[:, :, 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_no_change_is_the_letterbox() -> None:
    image = checked_photo()
    view, transform = random_view(image, (64, 64), Augmentation(), np.random.default_rng(0))
    wanted, wanted_transform = letterbox(image, (64, 64))
    assert np.array_equal(view, wanted)
    assert transform == wanted_transform


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_zoom_place_and_flip(seed: int) -> None:
    amount = Augmentation(zoom=0.4, flip=True)
    rng = np.random.default_rng(seed)
    view, transform = random_view(checked_photo(), (96, 96), amount, rng)
    assert view.shape == (96, 96, 3) and view.dtype == np.uint8
    where = transform.to_input(BLOCK)[0].clip(0, 96)
    assert np.abs(where - bright_box(view)).max() <= 1.5
    back = transform.to_source(transform.to_input(BLOCK))
    np.testing.assert_allclose(back, BLOCK, atol=1e-4)


def test_half_of_the_photos_are_mirrored() -> None:
    rng = np.random.default_rng(0)
    amount = Augmentation(flip=True)
    views = [random_view(checked_photo(), (64, 64), amount, rng) for _ in range(100)]
    mirrored = [transform.scale_xy[0] < 0 for _, transform in views]
    assert 30 < sum(mirrored) < 70
    plain = next(view for (view, _), is_m in zip(views, mirrored, strict=True) if not is_m)
    other = next(view for (view, _), is_m in zip(views, mirrored, strict=True) if is_m)
    assert np.array_equal(plain[:, ::-1], other)


def test_zoom_stays_within_its_amount() -> None:
    rng = np.random.default_rng(0)
    fit = letterbox(checked_photo(), (64, 64))[1].scale_xy[0]
    scales = [
        random_view(checked_photo(), (64, 64), Augmentation(zoom=0.25), rng)[1].scale_xy[0] / fit
        for _ in range(60)
    ]
    assert 0.73 < min(scales) < 0.85 and 1.15 < max(scales) < 1.27


def test_equal_seeds_give_equal_views() -> None:
    amount = Augmentation(0.3, 0.3, 0.3, True)
    views = [
        random_view(checked_photo(), (64, 64), amount, np.random.default_rng(5)) for _ in range(2)
    ]
    assert np.array_equal(views[0][0], views[1][0])
    assert views[0][1] == views[1][1]


def test_no_colour_change_is_none() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    assert np.array_equal(jitter_color(image, 0.0, np.random.default_rng(0)), image)


class _Fixed(np.random.Generator):
    """A generator whose uniform draws are the ones given."""

    def __init__(self, *draws: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.draws = draws

    def uniform(self, *_: object, **__: object) -> np.ndarray:  # type: ignore[override]
        return np.array(self.draws)


@pytest.mark.parametrize(
    ("draws", "wanted"),
    [
        ((0.5, 0.0, 0.0), lambda image, _grey: image * 1.5),  # brightness
        ((0.0, -0.5, 0.0), lambda image, grey: 0.5 * image + 0.5 * grey.mean()),  # contrast
        ((0.0, 0.0, -0.5), lambda image, grey: 0.5 * image + 0.5 * grey),  # saturation
    ],
)
def test_each_colour_change_by_its_formula(draws: tuple[float, ...], wanted: object) -> None:
    image = np.random.default_rng(1).integers(20, 160, (8, 8, 3), np.uint8)
    grey = (image @ np.array([0.299, 0.587, 0.114]))[:, :, None]
    found = jitter_color(image, 1.0, _Fixed(*draws))
    np.testing.assert_allclose(found, wanted(image, grey), atol=2.0)  # type: ignore[operator]


def test_colours_saturate_instead_of_wrapping_around() -> None:
    image = np.full((4, 4, 3), 250, np.uint8)
    assert (jitter_color(image, 1.0, _Fixed(0.9, 0.0, 0.0)) == 255).all()
    assert (jitter_color(image, 1.0, _Fixed(-1.0, 0.0, 0.0)) == 0).all()


def test_box_edges_move_by_their_share_of_the_side() -> None:
    boxes = np.tile(np.array([[10, 20, 30, 60]], np.float32), (200, 1))
    moved = jitter_boxes(boxes, 0.1, np.random.default_rng(0))
    assert moved.dtype == np.float32
    shift = np.abs(moved - boxes).max(axis=0)
    assert (shift <= [2, 4, 2, 4]).all() and (shift > [1.8, 3.6, 1.8, 3.6]).all()
    assert len(np.unique(moved[:, 0])) > 150, "every edge draws for itself"


def test_no_boxes_and_no_jitter() -> None:
    rng = np.random.default_rng(0)
    assert jitter_boxes(np.zeros((0, 4), np.float32), 0.1, rng).shape == (0, 4)
    np.testing.assert_array_equal(jitter_boxes(BLOCK, 0.0, rng), BLOCK)

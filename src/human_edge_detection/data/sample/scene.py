"""Drawn pictures of people who stand in front of each other, with exact masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.data.sample import backdrop as places
from human_edge_detection.data.sample.brush import Color
from human_edge_detection.data.sample.look import pick
from human_edge_detection.data.sample.person import Layer, draw_person
from human_edge_detection.data.sample.pose import (
    CHEERING,
    EVERYDAY,
    OUTDOORS,
    SITTING,
    STANDING,
    Stance,
)

MIN_VISIBLE_SHARE = 0.12
"""Nobody is hidden more than this: of a person's drawn pixels so many stay visible."""

MIN_VISIBLE_PIXELS = 80
TRIES_PER_PERSON = 8


@dataclass(frozen=True)
class Place:
    """A backdrop and how people spread in it.

    Attributes:
        horizon: range of the eye level's height as a share of the picture's.
        closeness: range of a person's stature in picture heights.
        rows: people sit or stand in rows above each other, as in a stadium.
    """

    backdrop: places.Backdrop
    stances: Sequence[Stance]
    horizon: tuple[float, float]
    closeness: tuple[float, float]
    rows: bool = False


PLACES = (
    Place(places.street, EVERYDAY, (0.3, 0.45), (0.45, 1.15)),
    Place(places.park, OUTDOORS, (0.3, 0.45), (0.4, 1.1)),
    Place(places.room, EVERYDAY, (0.32, 0.44), (0.55, 1.3)),
    Place(places.beach, OUTDOORS, (0.3, 0.42), (0.4, 1.0)),
    Place(places.hall, STANDING + CHEERING, (0.3, 0.45), (0.5, 1.2)),
    Place(places.stand, CHEERING * 2 + SITTING + STANDING, (0.2, 0.3), (0.42, 0.65), rows=True),
)
LIGHT_TINTS: tuple[Color, ...] = (
    (1, 1, 1),
    (1.06, 1.0, 0.9),
    (0.93, 0.98, 1.06),
    (1.04, 0.95, 0.93),
)


@dataclass(frozen=True)
class _Figure:
    layer: Layer
    foot_xy: tuple[float, float]
    stature: float


def draw_scene(
    rng: np.random.Generator, size_hw: tuple[int, int], people: int, place: Place | None = None
) -> tuple[ImageArray, NDArray[np.bool_]]:
    """A picture with ``people`` people, or fewer where no more can be seen.

    Returns:
        uint8 [H, W, 3] RGB, and the visible pixels of every person, bool [N, H, W].
    """
    place = place or pick(rng, PLACES)
    angle = rng.uniform(0.6, 2.5)
    light = (float(-np.cos(angle)), float(-np.sin(angle)))
    horizon = float(rng.uniform(*place.horizon))
    picture = place.backdrop(rng, size_hw, horizon)
    blur = rng.uniform(0.01, 2.0) * min(size_hw) / 480
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    figures = _gather(rng, place, size_hw, people, horizon, light)
    for figure in figures:
        _drop_shadow(picture, figure)
        _lay(picture, figure.layer)
    owner = _owners(figures, size_hw)
    masks = owner[None] == np.arange(len(figures))[:, None, None]
    return _as_photo(rng, picture), masks


def _gather(
    rng: np.random.Generator,
    place: Place,
    size_hw: tuple[int, int],
    people: int,
    horizon: float,
    light: tuple[float, float],
) -> list[_Figure]:
    """People added one by one, as long as all stay visible; the furthest comes first."""
    figures: list[_Figure] = []
    spot = _spots(rng, place, size_hw, people, horizon)
    for _ in range(TRIES_PER_PERSON * people):
        if len(figures) == people:
            break
        x, y, stature = spot()
        layer = draw_person(rng, pick(rng, place.stances), (x, y), stature, light)
        trial = sorted([*figures, _Figure(layer, (x, y), stature)], key=lambda f: f.foot_xy[1])
        if _all_visible(trial, size_hw):
            figures = trial
    return figures


def _spots(
    rng: np.random.Generator, place: Place, size_hw: tuple[int, int], people: int, horizon: float
) -> Callable[[], tuple[float, float, float]]:
    """A function that proposes foot x, foot y and stature for the next person."""
    height, width = size_hw
    closeness = float(rng.uniform(*place.closeness)) * min(1.0, (7 / max(people, 1)) ** 0.5)
    deepest = 0.72 if people < 9 else 0.5
    stature = closeness * height * min(1.0, 0.55 + 0.5 * width / height)
    spread = min(width * 0.42, stature * (0.13 + 0.13 * people) * rng.uniform(0.7, 1.5))
    middle = width / 2 + rng.uniform(-0.5, 0.5) * max(0.0, width * 0.84 - 2 * spread)
    eye = rng.uniform(0.75, 1.0)  # the camera's height in statures

    def in_group() -> tuple[float, float, float]:
        near = stature * rng.uniform(deepest, 1.12)
        x = middle + rng.uniform(-1, 1) * spread
        return float(x), float(horizon * height + near * eye), float(near * rng.uniform(0.9, 1.07))

    def in_rows() -> tuple[float, float, float]:
        pitch = 0.42 * stature
        row = rng.integers(max(1, int((1.2 - horizon) * height / pitch)))
        seat = 0.36 * stature
        x = (round((middle + rng.uniform(-1, 1) * spread) / seat) + 0.5 * (row % 2)) * seat
        foot = max(horizon * height + stature * 0.45, 1.02 * stature) + row * pitch
        return float(x + rng.normal(0, 2)), float(foot), float(stature * rng.uniform(0.92, 1.06))

    return in_rows if place.rows else in_group


def _owners(figures: Sequence[_Figure], size_hw: tuple[int, int]) -> NDArray[np.int32]:
    """Index of the nearest figure that covers at least half of each pixel, -1 for none."""
    owner = np.full(size_hw, -1, np.int32)
    for index, figure in enumerate(figures):
        target, source = _windows(figure.layer, size_hw)
        owner[target][figure.layer.alpha[source] >= 0.5] = index
    return owner


def _all_visible(figures: Sequence[_Figure], size_hw: tuple[int, int]) -> bool:
    owner = _owners(figures, size_hw)
    seen = np.bincount(owner[owner >= 0], minlength=len(figures))
    whole = np.array([(figure.layer.alpha >= 0.5).sum() for figure in figures])
    least = np.maximum(MIN_VISIBLE_PIXELS, MIN_VISIBLE_SHARE * whole)
    return bool((seen >= least).all())


def _windows(
    layer: Layer, size_hw: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a picture that a layer covers, and that part of the layer."""
    (x, y), (height, width) = layer.corner_xy, layer.alpha.shape
    y1, x1 = max(y, 0), max(x, 0)
    y2, x2 = max(y1, min(y + height, size_hw[0])), max(x1, min(x + width, size_hw[1]))
    return (slice(y1, y2), slice(x1, x2)), (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x))


def _lay(picture: FloatArray, layer: Layer) -> None:
    target, source = _windows(layer, (picture.shape[0], picture.shape[1]))
    picture[target] *= 1 - layer.alpha[source][..., None]
    picture[target] += layer.color[source]


def _drop_shadow(picture: FloatArray, figure: _Figure) -> None:
    radius = figure.stature * 0.2
    (x, y), height = figure.foot_xy, len(picture)
    if y - radius * 0.6 >= height:
        return
    low, high = max(0, int(y - radius * 0.6)), min(height, int(y + radius * 0.6) + 2)
    mark = np.zeros((high - low, picture.shape[1]), np.float32)
    axes = (max(1, int(radius)), max(1, int(radius * 0.2)))
    cv2.ellipse(mark, (int(x), int(y) - low), axes, 0, 0, 360, 0.4, -1)
    width = max(3, int(radius * 0.25) | 1)
    picture[low:high] *= 1 - cv2.blur(mark, (width, width))[..., None]


def _as_photo(rng: np.random.Generator, picture: FloatArray) -> ImageArray:
    """A tint, a vignette, a slight blur and grain, as a camera adds them."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    vignette = 1 - rng.uniform(0, 0.14) * (x**2 + y**2)
    tint = np.array(pick(rng, LIGHT_TINTS), np.float32) * rng.uniform(0.86, 1.08)
    lit = picture * vignette[..., None] * tint.astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 0.6)), np.float32)
    noise = rng.standard_normal(picture.shape[:2], np.float32) * np.float32(rng.uniform(0.5, 2.5))
    return np.clip(soft + noise[..., None], 0, 255).astype(np.uint8)

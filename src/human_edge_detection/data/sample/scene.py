"""Drawn pictures of people in front of each other, with exact masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.data.sample.brush import Color, Layer, shade
from human_edge_detection.data.sample.person import FABRICS, Rng, draw_person, pick

MIN_VISIBLE_SHARE = 0.12  # of a person's drawn pixels
MIN_VISIBLE_PIXELS = 80
TRIES_PER_PERSON = 8


Place = tuple[Color, Color, Color, Color, Sequence[Color], Sequence[Color]]
"""Sky or wall at the top and at the bottom, ground far and near, colours of houses and of trees."""

# fmt: off
LEAVES: tuple[Color, ...] = ((76, 124, 66), (96, 146, 74), (58, 104, 66), (128, 160, 80))
LAMPS: tuple[Color, ...] = ((255, 214, 150), (255, 180, 120), (250, 150, 130), (255, 236, 200))
WALLS: tuple[Color, ...] = ((214, 196, 170), (178, 110, 88), (196, 204, 206), (188, 150, 120))
NIGHT: tuple[Color, ...] = ((52, 44, 70), (66, 52, 74), (84, 60, 78))
PLACES: dict[str, Place] = {
    "street": ((104, 164, 224), (206, 228, 240), (168, 164, 158), (196, 190, 180), WALLS, LEAVES),
    "park": ((118, 132, 188), (250, 204, 160), (150, 172, 96), (92, 138, 62), (), LEAVES),
    "beach": ((124, 178, 226), (232, 232, 222), (226, 208, 170), (226, 198, 148), FABRICS[:8], ()),
    "evening": ((44, 38, 84), (232, 140, 96), (96, 72, 84), (132, 98, 92), NIGHT, LAMPS),
    "room": ((236, 222, 198), (222, 204, 176), (150, 108, 74), (190, 142, 96), (), LEAVES),
}
# fmt: on


def draw_crowd(
    seed: int | Sequence[int],
    size_hw: tuple[int, int] = (480, 640),
    people: int | None = None,
    place: str = "",
) -> tuple[ImageArray, NDArray[np.bool_], FloatArray]:
    """A drawn picture of people in front of each other.

    Args:
        seed: the same seed, size, number and place give the same picture.
        size_hw: height and width in pixels.
        people: how many; fewer are drawn where no more can be seen. By default 4 to 9.
        place: one of ``PLACES``; by default any.

    Returns:
        image uint8 [H, W, 3] RGB; visible pixels of each person, bool [N, H, W], no pixel owned
        twice; boxes float32 [N, 4] xyxy of these pixels, end-exclusive. The furthest comes first.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 10)) if people is None else people
    where = PLACES[place or list(PLACES)[int(rng.integers(len(PLACES)))]]
    horizon = float(rng.uniform(0.3, 0.45))
    picture = draw_backdrop(rng, size_hw, horizon, where)
    layers = _gather(rng, size_hw, count, horizon)
    for layer in layers:
        _drop_shadow(picture, layer)
        picture[layer.window] *= 1 - layer.alpha[..., None]
        picture[layer.window] += layer.color
    masks = _owners(layers, size_hw)[None] == np.arange(len(layers))[:, None, None]
    extents = (cv2.boundingRect(mask.astype(np.uint8)) for mask in masks)
    boxes = [(x, y, x + width, y + height) for x, y, width, height in extents]
    return _as_photo(rng, picture), masks, np.array(boxes, np.float32).reshape(-1, 4)


def draw_backdrop(rng: Rng, size_hw: tuple[int, int], horizon: float, place: Place) -> FloatArray:
    """A blurred place, float32 [H, W, 3], 0…255; ``horizon`` is a fraction of the height."""
    height, width = size_hw
    foot = int((horizon + rng.uniform(0.04, 0.14)) * height)
    picture = np.empty((height, width, 3), np.float32)
    top, bottom, far, near, fronts, crowns = place
    for rows, *ends in ((picture[:foot], top, bottom), (picture[foot:], far, near)):
        share = np.linspace(0, 1, len(rows))[:, None, None]
        rows[:] = (1 - share) * np.array(ends[0]) + share * np.array(ends[1])
    left = 0
    while fronts and left < width:
        right = left + int(rng.uniform(0.1, 0.4) * height) + 1
        _build(picture[int(rng.uniform(0, 0.7) * foot) : foot, left:right], rng, pick(rng, fronts))
        left = right + int(rng.uniform(-0.1, 0.1) * height) * (rng.random() < 0.3)
    for _ in range(rng.integers(3, 8) if crowns else 0):
        color, radius = pick(rng, crowns), rng.uniform(0.05, 0.14) * height
        middle = rng.uniform(0, width), foot - rng.uniform(0.6, 2.4) * radius
        for spot in rng.normal(middle, 0.55 * radius, (9, 2)).astype(int).tolist():
            size, tone = (int(0.6 * radius), int(0.5 * radius)), rng.uniform(0.85, 1.15)
            cv2.ellipse(picture, spot, size, 0, 0, 360, shade(color, tone), -1)
    cell = max(2, height // 60)
    coarse = rng.normal(1, 0.04, (height // cell + 2, width // (3 * cell) + 2)).astype(np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture[foot:] *= grain[foot:, :, None]
    blur = rng.uniform(0.3, 2.0) * min(size_hw) / 480
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)


def _build(front: FloatArray, rng: Rng, color: Color) -> None:
    """Fill part of a picture with the front of a house: wall, eaves, windows."""
    front[:], is_lit = color, rng.random() < 0.4
    front[: len(front) // 16 + 1] = shade(color, 0.75)
    (height, width), (rows, columns) = front.shape[:2], rng.integers(2, 5, 2)
    for y in (height * (np.arange(rows) + 0.3) / rows).astype(int):
        for x in (width * (np.arange(columns) + 0.25) / columns).astype(int):
            pane = front[y : y + height // (2 * rows), x : x + width // (2 * columns)]
            pane[:] = (244, 216, 150) if is_lit else shade(color, 0.65)


def _gather(rng: Rng, size_hw: tuple[int, int], people: int, horizon: float) -> list[Layer]:
    """People added one by one, as long as all stay visible; the furthest comes first."""
    height, width = size_hw
    angle = rng.uniform(0.6, 2.5)
    light = np.array([-np.cos(angle), -np.sin(angle)])
    closeness = rng.uniform(0.45, 1.15) * min(1.0, (7 / max(people, 1)) ** 0.5)
    deepest = 0.72 if people < 9 else 0.5
    stature = closeness * height * min(1.0, 0.55 + 0.5 * width / height)
    spread = min(width * 0.42, stature * (0.13 + 0.13 * people) * rng.uniform(0.7, 1.5))
    middle = width / 2 + rng.uniform(-0.5, 0.5) * max(0.0, width * 0.84 - 2 * spread)
    eye = rng.uniform(0.75, 1.0)  # the camera's height in statures
    layers: list[Layer] = []
    for _ in range(TRIES_PER_PERSON * people):
        near = stature * rng.uniform(deepest, 1.12)
        foot_xy = np.array([middle + rng.uniform(-1, 1) * spread, horizon * height + near * eye])
        added = draw_person(rng, foot_xy, near * rng.uniform(0.9, 1.07), light, size_hw)
        trial = sorted([*layers, added], key=lambda layer: float(layer.foot_xy[1]))
        owner = _owners(trial, size_hw)
        seen = np.bincount(owner[owner >= 0], minlength=len(trial))
        least = [max(MIN_VISIBLE_PIXELS, MIN_VISIBLE_SHARE * layer.area) for layer in trial]
        if (seen >= least).all():
            layers = trial
        if len(layers) == people:
            break
    return layers


def _owners(layers: Sequence[Layer], size_hw: tuple[int, int]) -> NDArray[np.int32]:
    """Index of the nearest figure that covers at least half of each pixel, -1 for none."""
    owner = np.full(size_hw, -1, np.int32)
    for index, layer in enumerate(layers):
        owner[layer.window][layer.alpha >= 0.5] = index
    return owner


def _drop_shadow(picture: FloatArray, layer: Layer) -> None:
    mark = np.zeros(picture.shape[:2], np.float32)
    x, y, radius = (int(value) for value in (*layer.foot_xy, layer.stature * 0.2 + 1))
    cv2.ellipse(mark, (x, y), (radius, radius // 5), 0, 0, 360, 0.4, -1)
    picture *= 1 - cv2.blur(mark, (radius // 4 | 1,) * 2)[..., None]


def _as_photo(rng: Rng, picture: FloatArray) -> ImageArray:
    """A tint, a vignette, a slight blur and grain, as a camera adds them."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    vignette = 1 - rng.uniform(0, 0.14) * (x**2 + y**2)
    tint = np.float32(rng.uniform(0.94, 1.04, 3) * rng.uniform(0.9, 1.05))
    soft = cv2.GaussianBlur(picture * vignette[..., None] * tint, (0, 0), rng.uniform(0.3, 0.6))
    noise = rng.normal(0, rng.uniform(0.5, 2.5), (height, width, 1))
    return np.asarray(np.clip(soft + noise, 0, 255), np.uint8)

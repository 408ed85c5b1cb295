"""Places for drawn people: a street, a park, a room, a beach, a hall and a stand of seats."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.sample.brush import Color
from human_edge_detection.data.sample.canvas import Canvas
from human_edge_detection.data.sample.head import shade
from human_edge_detection.data.sample.look import FABRICS, pick

Rng = np.random.Generator
Backdrop = Callable[[Rng, tuple[int, int], float], FloatArray]
"""Paints float32 [H, W, 3] RGB for a size and the height of the horizon as a share of H."""

WALLS: tuple[Color, ...] = (
    (214, 196, 170), (178, 110, 88), (196, 204, 206), (224, 208, 178),
    (150, 158, 168), (188, 150, 120), (226, 222, 214), (160, 128, 112),
)  # fmt: skip
WALLPAPERS: tuple[Color, ...] = (
    (232, 222, 206), (196, 212, 210), (222, 200, 186), (180, 192, 172), (206, 204, 220),
)  # fmt: skip
SKIES: tuple[tuple[Color, Color], ...] = (
    ((104, 164, 224), (206, 228, 240)), ((148, 178, 206), (224, 226, 222)),
    ((118, 132, 188), (250, 204, 160)), ((176, 190, 200), (222, 224, 224)),
)  # fmt: skip
LEAVES: tuple[Color, ...] = ((76, 124, 66), (96, 146, 74), (58, 104, 66), (128, 160, 80))


def street(rng: Rng, size_hw: tuple[int, int], horizon: float) -> FloatArray:
    """House fronts, trees, a pavement and a road."""
    canvas = Canvas(size_hw)
    _sky(canvas, rng, horizon)
    foot, x = horizon + 0.06, -0.05
    while x < 1.05:
        width = rng.uniform(0.16, 0.34)
        _house(canvas, rng, x, x + width, horizon - rng.uniform(0.35, 0.8), foot)
        x += width
    canvas.fade(foot, 1, (168, 164, 158), (196, 190, 180))
    canvas.grain(rng, foot, 1, 0.02, 3)
    for step in np.geomspace(0.02, 1 - foot, 7):
        canvas.box(0, foot + step, 1, foot + step * 1.012 + 0.002, (140, 136, 132))
    middle = rng.uniform(0.3, 0.7)
    for side in np.linspace(-3, 4, 15):
        near = middle + (side - middle) * 1.0
        far = middle + (side - middle) * 0.25
        joint = [(far, foot), (far + 0.001, foot), (near + 0.004, 1), (near, 1)]
        canvas.polygon(joint, (144, 140, 136))
    for x in rng.uniform(0, 1, rng.integers(1, 4)):
        _tree(canvas, rng, float(x), foot + 0.02, rng.uniform(0.3, 0.5))
    return canvas.finished()


def park(rng: Rng, size_hw: tuple[int, int], horizon: float) -> FloatArray:
    """A lawn with a path, hills and trees."""
    canvas = Canvas(size_hw)
    _sky(canvas, rng, horizon)
    for base, color in ((0.10, (138, 168, 150)), (0.05, (112, 152, 110))):
        bumps = np.cumsum(rng.normal(0, 0.012, 24))
        ridge = [(i / 23, horizon - base - float(bumps[i] - bumps.mean())) for i in range(24)]
        canvas.polygon([*ridge, (1, horizon + 0.02), (0, horizon + 0.02)], color)
    canvas.fade(horizon, 1, (138, 172, 96), (92, 138, 62))
    canvas.grain(rng, horizon, 1, 0.03, 2)
    start, near = rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.9)
    bend = rng.uniform(-0.2, 0.2)
    left, right = [], []
    for t in np.linspace(0, 1, 20):
        x, y = start + (near - start) * t + bend * np.sin(3 * t), horizon + (1 - horizon) * t
        half = 0.012 + 0.2 * t**1.5
        left.append((x - half, y))
        right.append((x + half, y))
    canvas.polygon([*left, *right[::-1]], (214, 198, 164))
    for x in rng.uniform(-0.05, 1.05, rng.integers(4, 9)):
        depth = rng.uniform(0, 0.12)
        _tree(canvas, rng, float(x), horizon + depth, 0.22 + 2.5 * depth)
    return canvas.finished()


def beach(rng: Rng, size_hw: tuple[int, int], horizon: float) -> FloatArray:
    """Sea, sand and parasols."""
    canvas = Canvas(size_hw)
    _sky(canvas, rng, horizon)
    shore = horizon + rng.uniform(0.1, 0.18)
    canvas.fade(horizon, shore, (58, 132, 170), (108, 190, 196))
    for y in np.linspace(horizon, shore, 9):
        for x in rng.uniform(-0.1, 1, 5):
            canvas.box(float(x), y, float(x) + 0.1, y + 0.003, (200, 228, 230))
    canvas.fade(shore, 1, (232, 214, 176), (222, 196, 148))
    canvas.grain(rng, shore, 1, 0.025, 2)
    wave = [(x, shore + 0.008 * np.sin(17 * x + 2)) for x in np.linspace(0, 1, 40)]
    canvas.polygon([*wave, (1, shore - 0.012), (0, shore - 0.012)], (244, 248, 246))
    for x in rng.uniform(0, 1, rng.integers(1, 4)):
        _parasol(canvas, rng, float(x), shore + rng.uniform(0.03, 0.1))
    return canvas.finished()


def room(rng: Rng, size_hw: tuple[int, int], horizon: float) -> FloatArray:
    """A living room: wall, pictures, a window, a sofa, a wooden floor."""
    canvas = Canvas(size_hw)
    wall = shade(pick(rng, WALLPAPERS), rng.uniform(0.9, 1.05))
    floor = horizon + rng.uniform(0.12, 0.2)
    canvas.fade(0, floor, wall, shade(wall, 0.9))
    wood = shade((176, 130, 88), rng.uniform(0.75, 1.15))
    canvas.fade(floor, 1, shade(wood, 0.9), shade(wood, 1.1))
    canvas.grain(rng, floor, 1, 0.02, 6)
    for side in np.linspace(-2.5, 3.5, 25):
        far, near = 0.5 + (side - 0.5) * 0.5, side
        gap = [(far, floor), (far + 0.002, floor), (near + 0.004, 1), (near, 1)]
        canvas.polygon(gap, shade(wood, 0.75))
    canvas.box(0, floor - 0.02, 1, floor, (244, 242, 236))
    spots = rng.permutation([0.14, 0.39, 0.64, 0.87])
    _window(canvas, rng, float(spots[0]), floor)
    for spot in spots[1:3]:
        w, h, y = rng.uniform(0.05, 0.08), rng.uniform(0.07, 0.12), horizon - rng.uniform(0.08, 0.2)
        canvas.box(spot - w - 0.01, y - h - 0.014, spot + w + 0.01, y + h + 0.014, (70, 56, 48))
        canvas.box(spot - w, y - h, spot + w, y + h, pick(rng, FABRICS))
        canvas.oval(spot, y, h * 0.5, h * 0.5, pick(rng, FABRICS))
    _sofa(canvas, pick(rng, FABRICS), float(spots[3]), floor)
    return canvas.finished()


def hall(rng: Rng, size_hw: tuple[int, int], horizon: float) -> FloatArray:
    """A plain stage with coloured light."""
    canvas = Canvas(size_hw)
    hue = shade(pick(rng, FABRICS[:14]), 0.55)
    canvas.fade(0, horizon + 0.15, shade(hue, 0.55), hue)
    canvas.fade(horizon + 0.15, 1, shade(hue, 0.85), shade(hue, 1.3))
    lights = np.zeros_like(canvas.pixels)
    height, width = lights.shape[:2]
    for x in rng.uniform(0, 1, 5):
        tip, spread = rng.uniform(0, 1), rng.uniform(0.06, 0.14)
        beam = np.array([[x, -0.05], [tip - spread, 1], [tip + spread, 1]]) * [width, height]
        color = [0.35 * channel for channel in pick(rng, FABRICS[:14])]
        lights += cv2.fillPoly(np.zeros_like(lights), [beam.astype(np.int32)], color)
    canvas.pixels += cv2.blur(lights, (61, 61))
    return canvas.finished()


def stand(rng: Rng, size_hw: tuple[int, int], horizon: float) -> FloatArray:
    """The concrete and the empty seats of a stadium; rows start at ``horizon``, as people's do."""
    canvas = Canvas(size_hw)
    seat = shade(pick(rng, FABRICS[:13]), 0.8)
    canvas.fade(0, horizon, (70, 78, 92), (104, 110, 120))
    canvas.fade(horizon, 1, (150, 150, 152), (176, 174, 170))
    for y in np.arange(horizon + 0.02, 1.15, 0.12):
        canvas.box(0, y, 1, y + 0.016, (128, 128, 132))
        for x in np.arange(rng.uniform(-0.05, 0), 1.05, 0.1 / canvas.aspect):
            width = 0.082 / canvas.aspect
            canvas.box(x, y - 0.07, x + width, y, seat)
            canvas.box(x, y - 0.02, x + width, y + 0.008, shade(seat, 0.75))
    for x in rng.uniform(0, 1, rng.integers(3, 7)):
        canvas.box(float(x), 0, float(x) + 0.012, horizon - 0.05, (86, 92, 104))
    return canvas.finished()


def _sky(canvas: Canvas, rng: Rng, horizon: float) -> None:
    first, last = pick(rng, SKIES)
    canvas.fade(0, horizon + 0.1, first, last)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, 1), rng.uniform(0, 0.6) * horizon
        for _ in range(6):
            dx, dy = rng.normal(0, 0.05), rng.normal(0, 0.008)
            rx, ry = rng.uniform(0.03, 0.08), rng.uniform(0.012, 0.028)
            canvas.oval(x + dx, y + dy, rx, ry, shade(last, 1.06))


def _house(canvas: Canvas, rng: Rng, x1: float, x2: float, top: float, foot: float) -> None:
    wall = shade(pick(rng, WALLS), rng.uniform(0.85, 1.05))
    canvas.box(x1, top, x2, foot, wall)
    canvas.box(x1, top, x2, top + 0.018, shade(wall, 0.75))
    glass = pick(rng, ((96, 122, 146), (70, 88, 104), (240, 214, 150)))
    columns, step = int(rng.integers(2, 5)), (x2 - x1)
    for column in range(columns):
        x = x1 + step * (column + 0.28) / columns
        for y in np.arange(top + 0.06, foot - 0.26, 0.14):
            end = x + step * 0.46 / columns
            canvas.box(x - 0.004, y - 0.006, end + 0.004, y + 0.088, shade(wall, 1.18))
            canvas.box(x, y, end, y + 0.08, shade(glass, rng.uniform(0.8, 1.1)))
    awning = pick(rng, FABRICS)
    canvas.box(x1 + 0.02, foot - 0.16, x2 - 0.02, foot, (62, 70, 80))
    canvas.box(x1 + 0.03, foot - 0.14, x2 - 0.03, foot - 0.02, (120, 140, 150))
    rim, low = foot - 0.2, foot - 0.15
    canvas.polygon([(x1 + 0.02, rim), (x2 - 0.02, rim), (x2, low), (x1, low)], awning)


def _tree(canvas: Canvas, rng: Rng, x: float, foot: float, height: float) -> None:
    leaf = shade(pick(rng, LEAVES), rng.uniform(0.85, 1.1))
    trunk = 0.03 * height / canvas.aspect
    canvas.oval(x, foot, 0.3 * height, 0.03 * height, (72, 96, 56))
    top, thin = foot - 0.6 * height, trunk * 0.6
    outline = [(x - trunk, foot), (x + trunk, foot), (x + thin, top), (x - thin, top)]
    canvas.polygon(outline, (104, 78, 58))
    for tone, lift in ((0.8, 0.0), (1.0, 0.04), (1.16, 0.09)):
        for _ in range(9):
            spread = 0.13 * (1 - 4 * lift)
            dx, dy = rng.normal(0, spread, 2) * height
            tuft_x = x + (dx - lift * 0.6 * height) / canvas.aspect
            tuft_y = foot - (0.72 + lift) * height + 0.8 * dy
            color = shade(leaf, tone * rng.uniform(0.96, 1.04))
            canvas.oval(tuft_x, tuft_y, 0.13 * height, 0.11 * height, color)


def _parasol(canvas: Canvas, rng: Rng, x: float, foot: float) -> None:
    color, high, wide = pick(rng, FABRICS[:13]), 0.24, 0.13
    canvas.box(x - 0.003, foot - high, x + 0.003, foot, (236, 232, 224))
    for i in range(6):
        first, last = (x + wide * (k / 3 - 1) for k in (i, i + 1))
        rim = foot - high + 0.02
        panel = [(x, rim - 0.09), (first, rim), (last, rim)]
        canvas.polygon(panel, color if i % 2 else (246, 242, 234))


def _window(canvas: Canvas, rng: Rng, x: float, floor: float) -> None:
    top, low, w = floor - 0.5, floor - 0.16, 0.085
    canvas.box(x - w - 0.012, top - 0.016, x + w + 0.012, low + 0.02, (246, 244, 238))
    canvas.box(x - w, top, x + w, low, (168, 206, 232))
    canvas.box(x - w, low - 0.1, x + w, low, pick(rng, LEAVES))
    canvas.box(x - 0.005, top, x + 0.005, low, (246, 244, 238))
    curtain = pick(rng, FABRICS)
    for side in (-1, 1):
        edge = x + side * (w + 0.012)
        outline = [
            (edge - 0.03, top - 0.03), (edge + 0.03, top - 0.03),
            (edge + 0.036, low + 0.08), (edge - 0.024, low + 0.08),
        ]  # fmt: skip
        canvas.polygon(outline, curtain)


def _sofa(canvas: Canvas, color: Color, x: float, floor: float) -> None:
    canvas.box(x - 0.2, floor - 0.13, x + 0.2, floor + 0.05, shade(color, 0.85))
    for side in (-1, 1):
        middle = x + side * 0.1
        canvas.box(middle - 0.096, floor - 0.03, middle + 0.096, floor + 0.02, color)
        arm = x + side * 0.21
        canvas.box(arm - 0.025, floor - 0.06, arm + 0.025, floor + 0.06, shade(color, 0.95))
    canvas.box(x - 0.2, floor + 0.05, x + 0.2, floor + 0.06, (64, 48, 40))

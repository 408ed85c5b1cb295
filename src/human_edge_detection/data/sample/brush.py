"""Shapes, and a transparent sheet on which they are painted with soft light and shadow.

A figure's own frame: the unit is the person's stature, x points right, y down, the ground is y = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray

Points = NDArray[np.float64]
Spot = Sequence[float] | Points
"""The x and y of one point."""

Spots = Sequence[Spot] | Points
"""Points along a line or an outline, [K, 2]."""

Shape = list[Points]
"""Convex or simple polygons float64 [K, 2] whose union is the shape."""

Color = tuple[float, float, float]
"""RGB, each 0…255."""

Weave = Callable[[FloatArray, FloatArray], FloatArray]
"""From x and y in figure units to the share of the second colour, 0…1."""

SUBPIXEL_BITS = 4
_AROUND = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_AROUND), np.sin(_AROUND)], axis=1)


@dataclass(frozen=True)
class Cloth:
    """A fabric: one colour, or two woven into a pattern."""

    color: Color
    accent: Color = (255, 255, 255)
    weave: Weave | None = None


def disc(center: Spot, rx: float, ry: float = 0.0, angle: float = 0.0) -> Shape:
    """An ellipse (a circle where ``ry`` is 0), turned by ``angle`` radians."""
    ry = ry or rx
    c, s = np.cos(angle), np.sin(angle)
    return [_CIRCLE @ np.array([[c * rx, s * rx], [-s * ry, c * ry]]) + np.asarray(center)]


def tube(points: Spots, radii: Sequence[float], cut: bool = False) -> Shape:
    """A tapered limb along a path: a disc at every point, a quadrilateral between neighbours.

    ``cut`` ends it straight, as a sleeve, and not round.
    """
    path = np.asarray(points, np.float64)
    reach = np.asarray(radii, np.float64)[:, None]
    discs = path[:, None] + reach[:, None] * _CIRCLE
    along = path[1:] - path[:-1]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(normal[:, :1], normal[:, 1:]), 1e-6)
    start, end = normal * reach[:-1], normal * reach[1:]
    joins = [path[:-1] + start, path[1:] + end, path[1:] - end, path[:-1] - start]
    return [*discs[: len(discs) - cut], *np.stack(joins, axis=1)]


def stroke(points: Spots, radius: float) -> Shape:
    """A smooth line of even width through the points."""
    path = _spline(np.asarray(points, np.float64), closed=False, steps=5)
    return tube(path, [radius] * len(path))


def blob(points: Spots) -> Shape:
    """A smooth closed outline through the points."""
    return [_spline(np.asarray(points, np.float64), closed=True)]


def _spline(points: Points, closed: bool, steps: int = 8) -> Points:
    if closed:
        ring = np.concatenate([points[-1:], points, points[:2]])
    else:
        ring = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (ring[i : len(ring) - 3 + i, None] for i in range(4))
    bend = 2 * p0 - 5 * p1 + 4 * p2 - p3
    path = 0.5 * (2 * p1 + (p2 - p0) * t + bend * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    path = path.reshape(-1, 2)
    return path if closed else np.concatenate([path, points[-1:]])


class Sheet:
    """A transparent sheet in a figure's frame.

    Attributes:
        color: float32 [3, H, W], 0…255 or a little brighter, already multiplied by ``alpha``.
        alpha: float32 [H, W], 0…1.
    """

    def __init__(
        self, bounds: tuple[float, float, float, float], scale: float, light: tuple[float, float]
    ) -> None:
        """An empty sheet.

        Args:
            bounds: x1, y1, x2, y2 in figure units.
            scale: sheet pixels per figure unit.
            light: direction towards the light, a unit vector.
        """
        self.origin, self.scale, self.light = np.array(bounds[:2]), scale, light
        width, height = (int(np.ceil((bounds[i + 2] - bounds[i]) * scale)) for i in range(2))
        self.color = np.zeros((3, height, width), np.float32)
        self.alpha = np.zeros((height, width), np.float32)

    def paint(
        self,
        shape: Shape,
        fill: Color | Cloth,
        volume: float = 0.4,
        shadow: float = 0.25,
        softness: float = 0.022,
        opacity: float = 1.0,
    ) -> None:
        """Lay a shape over what is there.

        Args:
            shape: polygons in figure units.
            fill: colour or fabric.
            volume: how round it looks; 0 is flat.
            shadow: how dark its shadow is on what lies underneath.
            softness: width of the shading at its edges, figure units.
            opacity: how much of what lies underneath it hides, 0…1.
        """
        reach = 3 + int(2 * softness * self.scale) if volume or shadow else 2
        points = (np.concatenate(shape) - self.origin) * self.scale
        low = np.floor(points.min(axis=0)).astype(int) - reach
        high = np.ceil(points.max(axis=0)).astype(int) + reach
        x1, y1 = np.maximum(low, 0)
        x2, y2 = np.minimum(high, self.alpha.shape[::-1])
        if x2 <= x1 or y2 <= y1:
            return
        lengths = [len(polygon) for polygon in shape]
        mask = _fill(points - (x1, y1), lengths, (y2 - y1, x2 - x1)) * np.float32(opacity)
        color, alpha = self.color[:, y1:y2, x1:x2], self.alpha[y1:y2, x1:x2]
        tone = self._tone(fill, (x1, y1), mask.shape)
        if volume or shadow:
            width = max(3, int(softness * self.scale) | 1)
            soft = np.asarray(cv2.blur(cv2.blur(mask, (width, width)), (width, width)), np.float32)
            keep = (1 - mask) * (1 - shadow * _shift(soft, self.light, 0.3 * width))
            gain = mask * self._shading(soft, volume, width)
        else:
            keep, gain = 1 - mask, mask
        color *= keep
        color += gain * tone
        alpha += mask * (1 - alpha)

    def _tone(
        self, fill: Color | Cloth, corner: tuple[int, int], shape: tuple[int, ...]
    ) -> FloatArray:
        if not isinstance(fill, Cloth):
            return np.asarray(fill, np.float32)[:, None, None]
        if fill.weave is None:
            return np.asarray(fill.color, np.float32)[:, None, None]
        x = (corner[0] + np.arange(shape[1], dtype=np.float32)) / self.scale + self.origin[0]
        y = (corner[1] + np.arange(shape[0], dtype=np.float32)) / self.scale + self.origin[1]
        share = fill.weave(x[None, :].astype(np.float32), y[:, None].astype(np.float32))
        share = np.broadcast_to(share, shape)
        base, accent = (np.asarray(c, np.float32)[:, None, None] for c in (fill.color, fill.accent))
        return np.asarray(base + share * (accent - base), np.float32)

    def _shading(self, soft: FloatArray, volume: float, width: int) -> FloatArray:
        step = width / 4.0
        across = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=step / 8)
        down = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=step / 8)
        facing = -(self.light[0] * across + self.light[1] * down)
        return np.asarray(1 + volume * 4 * facing, np.float32)


def _fill(points: Points, lengths: Sequence[int], size_hw: tuple[int, int]) -> FloatArray:
    mask = np.zeros(size_hw, np.uint8)
    fixed = np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
    start = 0
    for length in lengths:
        cv2.fillPoly(mask, [fixed[start : start + length]], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        start += length
    return mask.astype(np.float32) * np.float32(1 / 255)


def _shift(soft: FloatArray, light: tuple[float, float], distance: float) -> FloatArray:
    move = np.array([[1, 0, -light[0] * distance], [0, 1, -light[1] * distance]], np.float32)
    return np.asarray(cv2.warpAffine(soft, move, soft.shape[::-1]), np.float32)

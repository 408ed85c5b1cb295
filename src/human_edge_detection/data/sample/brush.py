"""Shapes with soft light and shadow, painted on a transparent sheet.

A figure's frame: the unit is the person's height, x points right, y down, the ground is y = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from human_edge_detection.core.structures import FloatArray

Points = NDArray[np.float64]
Shape = list[Points]
"""Simple polygons float64 [K, 2] whose union is the shape."""

Color = tuple[float, float, float]
"""RGB, each 0…255."""

SUBPIXEL_BITS = 4
_AROUND = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_AROUND), np.sin(_AROUND)], axis=1)


@dataclass(frozen=True)
class Cloth:
    """A fabric: one colour, or two in stripes or checks of ``waves`` radians a unit along x, y."""

    color: Color
    accent: Color = (255, 255, 255)
    waves: tuple[float, float] = (0, 0)


def shade(color: Color, factor: float) -> Color:
    """A darker (factor below 1) or lighter colour."""
    r, g, b = (float(min(255.0, channel * factor)) for channel in color)
    return r, g, b


def disc(center: ArrayLike, rx: float, ry: float = 0.0, angle: float = 0.0) -> Shape:
    """An ellipse (a circle where ``ry`` is 0), turned by ``angle`` radians."""
    c, s, ry = np.cos(angle), np.sin(angle), ry or rx
    return [_CIRCLE @ np.array([[c * rx, s * rx], [-s * ry, c * ry]]) + np.asarray(center)]


def tube(points: ArrayLike, radii: Sequence[float], cut: bool = False) -> Shape:
    """A tapered limb along a path: a disc at every point, a quadrilateral between neighbours.

    ``cut`` ends it straight, as a sleeve, instead of round.
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


def blob(points: ArrayLike) -> Shape:
    """A smooth closed outline through the points (Catmull-Rom)."""
    ring = np.asarray(points, np.float64)
    t = np.linspace(0, 1, 8, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (np.roll(ring, 1 - i, axis=0)[:, None] for i in range(4))
    bend = 2 * p0 - 5 * p1 + 4 * p2 - p3
    path = 0.5 * (2 * p1 + (p2 - p0) * t + bend * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return [path.reshape(-1, 2)]


@dataclass(frozen=True)
class Layer:
    """A painted figure, ready to be laid over a picture.

    Attributes:
        color: float32 [h, w, 3], 0…255, multiplied by ``alpha``.
        alpha: float32 [h, w], 0…1.
        window: the rows and columns of the picture that it covers.
        area: pixels of the figure, those outside the picture included.
        foot_xy: where the ground under the figure is in the picture.
        stature: the figure's height, pixels.
    """

    color: FloatArray
    alpha: FloatArray
    window: tuple[slice, slice]
    area: int
    foot_xy: Points
    stature: float


class Sheet:
    """A transparent sheet in a figure's frame, finer than the picture that it is made for.

    Args:
        bounds: the least and the greatest x, y that are painted, float64 [2, 2], figure units.
        foot_xy: where the figure's (0, 0) is in the picture.
        stature: picture pixels per figure unit.
        light: direction towards the light, a unit vector.
    """

    def __init__(self, bounds: Points, foot_xy: Points, stature: float, light: Points) -> None:
        self.foot_xy, self.stature, self.light = foot_xy, stature, light
        self.corner = np.floor(foot_xy + bounds[0] * stature).astype(int)
        self.origin = (self.corner - foot_xy) / stature
        self.size = np.ceil((bounds[1] - self.origin) * stature).astype(int)
        self.scale = stature * float(np.clip(460 / stature, 1.2, 2.25))
        width, height = np.ceil(self.size * self.scale / stature).astype(int)
        self.color = np.zeros((3, height, width), np.float32)
        self.alpha = np.zeros((height, width), np.float32)

    def layer(self, size_hw: tuple[int, int]) -> Layer:
        """What was painted, at the scale of a picture and cut to its size."""
        pixels = cv2.merge([*self.color, self.alpha])
        pixels = cv2.resize(pixels, self.size.tolist(), interpolation=cv2.INTER_AREA)
        area = int((pixels[..., 3] >= 0.5).sum())
        (x, y), (x1, y1) = self.corner, np.maximum(self.corner, 0)
        x2, y2 = np.clip(self.corner + self.size, (x1, y1), np.maximum(size_hw[::-1], (x1, y1)))
        cut = np.asarray(pixels[y1 - y : y2 - y, x1 - x : x2 - x], np.float32)
        color = np.asarray(np.minimum(cut[..., :3], 255 * cut[..., 3:]), np.float32)
        return Layer(color, cut[..., 3], np.s_[y1:y2, x1:x2], area, self.foot_xy, self.stature)

    def paint(
        self, shape: Shape, fill: Color | Cloth, volume: float = 0.4, shadow: float = 0.25,
        softness: float = 0.022,
    ) -> None:  # fmt: skip
        """Lay a shape over what is there.

        Args:
            shape: polygons in figure units.
            fill: colour or fabric.
            volume: how round it looks; 0 is flat.
            shadow: how dark its shadow on what lies underneath is.
            softness: width of the shading at its edges, figure units.
        """
        width = max(3, int(softness * self.scale) | 1)
        points = [(polygon - self.origin) * self.scale for polygon in shape]
        together, (height, breadth) = np.concatenate(points).astype(int), self.alpha.shape
        x1, y1 = np.maximum(together.min(axis=0) - 2 * width, 0)
        x2, y2 = np.minimum(together.max(axis=0) + 2 * width + 1, (breadth, height))
        if x2 <= x1 or y2 <= y1:
            return
        filled = np.zeros((y2 - y1, x2 - x1), np.uint8)
        for polygon in points:
            fixed = np.round((polygon - (x1, y1)) * (1 << SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(filled, [fixed], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        mask = filled.astype(np.float32) / np.float32(255)
        keep, gain = 1 - mask, mask
        if volume or shadow:
            soft = cv2.blur(cv2.blur(mask, (width, width)), (width, width))
            move = np.eye(2, 3, dtype=np.float32)
            move[:, 2] = -0.3 * width * np.array(self.light)
            keep = keep * (1 - shadow * cv2.warpAffine(soft, move, soft.shape[::-1]))
            across, down = (cv2.Sobel(soft, cv2.CV_32F, i, 1 - i, scale=width / 8) for i in (1, 0))
            gain = mask * (1 - volume * (self.light[0] * across + self.light[1] * down))
        color, alpha = self.color[:, y1:y2, x1:x2], self.alpha[y1:y2, x1:x2]
        color *= keep
        color += gain * self._tone(fill, (x1, y1), mask.shape)
        alpha += mask * (1 - alpha)

    def _tone(self, fill: Color | Cloth, corner: Sequence[int], size: Sequence[int]) -> FloatArray:
        """The fill's colour at each pixel of a window, float32 [3, h, w] or [3, 1, 1]."""
        cloth = fill if isinstance(fill, Cloth) else Cloth(fill)
        base, accent = np.array([cloth.color, cloth.accent], np.float32)[..., None, None]
        if not any(cloth.waves):
            return np.asarray(base, np.float32)
        x, y = (
            np.cos(((corner[i] + np.arange(size[1 - i])) / self.scale + self.origin[i]) * wave)
            for i, wave in enumerate(cloth.waves)
        )
        share = np.clip(4 * x[None, :] * y[:, None] + 0.5, 0, 1).astype(np.float32)
        return np.asarray(base + share * (accent - base), np.float32)

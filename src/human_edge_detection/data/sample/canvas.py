"""A large canvas for backdrops, painted in shares of the picture's width and height."""

from __future__ import annotations

import cv2
import numpy as np

from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.sample.brush import SUBPIXEL_BITS, Color


class Canvas:
    """A picture painted in shares of its width and height, at twice its size."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        """A black picture of ``size_hw`` pixels."""
        self.size_hw = size_hw
        self.pixels = np.zeros((2 * size_hw[0], 2 * size_hw[1], 3), np.float32)

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.size_hw[1] / self.size_hw[0]

    def fade(self, top: float, bottom: float, first: Color, last: Color) -> None:
        """Fill the rows between two heights with a colour that changes downwards."""
        height = len(self.pixels)
        y1, y2 = (round(np.clip(y, 0, 1) * height) for y in (top, bottom))
        share = np.linspace(0, 1, max(y2 - y1, 0), dtype=np.float32)[:, None, None]
        start, end = (np.asarray(c, np.float32) for c in (first, last))
        self.pixels[y1:y2] = start + share * (end - start)

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        """Fill a polygon."""
        scale = np.array(self.pixels.shape[1::-1]) * (1 << SUBPIXEL_BITS)
        fixed = np.round(np.array(points) * scale).astype(np.int32)
        cv2.fillPoly(self.pixels, [fixed], color, cv2.LINE_8, SUBPIXEL_BITS)

    def box(self, x1: float, y1: float, x2: float, y2: float, color: Color) -> None:
        """Fill an upright rectangle."""
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], color)

    def oval(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """Fill an ellipse; radii are shares of the height."""
        around = np.linspace(0, 2 * np.pi, 40)
        rx = rx / self.aspect
        self.polygon([(x + rx * np.cos(a), y + ry * np.sin(a)) for a in around], color)

    def grain(
        self, rng: np.random.Generator, top: float, bottom: float, strength: float, stretch: float
    ) -> None:
        """Roughen the rows between two heights with blotches, ``stretch`` times wider than high."""
        height, width = self.pixels.shape[:2]
        y1, y2 = (round(np.clip(y, 0, 1) * height) for y in (top, bottom))
        if y2 <= y1:
            return
        for cell in (6, 24):
            rows, columns = (y2 - y1) // cell + 2, int(width // (cell * stretch)) + 2
            coarse = rng.normal(1, strength, (rows, columns)).astype(np.float32)
            rough = cv2.resize(coarse, (width, y2 - y1), interpolation=cv2.INTER_CUBIC)
            self.pixels[y1:y2] *= np.clip(rough, 0.6, 1.5)[..., None]

    def finished(self) -> FloatArray:
        """The picture, float32 [H, W, 3], 0…255."""
        height, width = self.size_hw
        small = cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA)
        return np.clip(small, 0, 255).astype(np.float32)

"""Colours that tell many people apart, the same for the same person in every picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PALETTE_SIZE = 24
"""Colours before they repeat; more would be too alike to be told apart."""

_TO_LMS = np.array(
    [
        [0.4122215, 0.5363325, 0.0514460],
        [0.2119035, 0.6806995, 0.1073970],
        [0.0883025, 0.2817188, 0.6299787],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104543, 0.7936178, -0.0040720],
        [1.9779985, -2.4285922, 0.4505937],
        [0.0259040, 0.7827718, -0.8086758],
    ]
)


def oklab(colors: NDArray[np.uint8]) -> NDArray[np.float64]:
    """OKLab [N, 3] of sRGB colours uint8 [N, 3]; distances there are as large as they look."""
    srgb = colors / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T)


@lru_cache(maxsize=1)
def _palette() -> NDArray[np.uint8]:
    """Vivid colours uint8 [PALETTE_SIZE, 3], each as far from all before it as can be."""
    levels = np.linspace(0, 255, 18).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lab = oklab(colors)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lab[:, 0] > 0.6) & (lab[:, 0] < 0.92) & (chroma > 0.13)
    # Under a tint the photo's own lightness shows, so that the hue has to tell people apart.
    colors, lab = colors[vivid], lab[vivid] * (0.5, 1, 1)
    chosen = [int(np.argmax(chroma[vivid]))]
    nearest = np.full(len(lab), np.inf)
    while len(chosen) < PALETTE_SIZE:
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(nearest)))
    return colors[chosen]


def person_colors(count: int) -> NDArray[np.uint8]:
    """RGB colours uint8 [count, 3]; person ``i`` always gets the ``i``-th, however many follow."""
    return _palette()[np.arange(count) % PALETTE_SIZE]

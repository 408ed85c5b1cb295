"""Small texts on the people of a picture, placed where they hide as little as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from human_edge_detection.core.structures import ImageArray

LEAST_SIZE, MOST_SIZE = 8, 40
"""Font sizes in pixels; nobody can read a smaller one."""


@dataclass(frozen=True)
class Tag:
    """A text around a point of the image, in pixels; a size of 0 is not drawn."""

    text: str
    centre_xy: tuple[float, float]
    size: int


def place_tag(
    mask: NDArray[np.bool_], bounds: tuple[int, int, int, int], text: str, size_hw: tuple[int, ...]
) -> Tag:
    """A tag on a person's lower body, far from the edges; over the head where it has no room.

    People less tall than a tag get none.

    Args:
        mask: bool [h, w].
        bounds: the window ``x1, y1, x2, y2`` of the image that the mask fills.
        text: what to write.
        size_hw: the image's height and width; larger images get larger tags.
    """
    if not mask.any():
        return Tag(text, (0.0, 0.0), 0)
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows = np.flatnonzero(mask.any(axis=1))
    down = (np.arange(len(mask)) - rows[0]) / max(rows[-1] - rows[0], 1)
    # A face is what a person is known by: the upper part counts little.
    place = int(np.argmax(distance * np.clip(down * 2, 0.2, 1)[:, None]))
    y, x = divmod(place, mask.shape[1])
    room = 1.6 * float(distance[y, x])
    wished = int(np.clip(min(size_hw[:2]) / 36, LEAST_SIZE + 2, MOST_SIZE))
    if room >= LEAST_SIZE:
        return Tag(text, (bounds[0] + float(x), bounds[1] + float(y)), int(min(wished, room)))
    if rows[-1] - rows[0] < LEAST_SIZE:
        return Tag(text, (0.0, 0.0), 0)
    head = bounds[0] + float(np.median(np.flatnonzero(mask[rows[0]])))
    above = max(bounds[1] + int(rows[0]) - LEAST_SIZE / 2, LEAST_SIZE / 2)
    return Tag(text, (head, above), LEAST_SIZE)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def draw_tags(image: ImageArray, tags: Sequence[Tag]) -> ImageArray:
    """The image with the tags written in white on a dark rim, uint8 [H, W, 3]."""
    drawn = [tag for tag in tags if tag.size]
    if not drawn:
        return image
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for tag in drawn:
        rim = max(1, tag.size // 8)
        draw.text(
            tag.centre_xy,
            tag.text,
            (255, 255, 255),
            _font(tag.size),
            anchor="mm",
            stroke_width=rim,
            stroke_fill=(0, 0, 0),
        )
    return np.asarray(picture)

"""Draws people over their photo: tints, outlines, boxes and small texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import Bounds, FloatArray, ImageArray, as_boxes

# Vivid colours, each as far in OKLab from all before it as can be; lightness counts half, because
# under a tint the photo's own lightness shows.
_PALETTE = np.array(
    [
        (255, 0, 255), (0, 255, 0), (0, 165, 240), (255, 120, 0), (105, 150, 60), (240, 165, 240),
        (240, 15, 120), (0, 255, 225), (135, 90, 255), (255, 225, 0), (195, 75, 180),
        (165, 255, 135), (225, 120, 135), (255, 0, 0), (195, 150, 0), (150, 150, 240), (0, 195, 60),
        (180, 30, 255), (60, 120, 255), (165, 195, 0), (255, 45, 195), (60, 195, 150),
        (60, 225, 255), (255, 120, 255),
    ],
    np.uint8,
)  # fmt: skip

PALETTE_SIZE = len(_PALETTE)
"""Colours before they repeat; more of them would look too alike."""

LEAST_SIZE, MOST_SIZE = 8, 40
"""Font sizes in pixels; smaller text cannot be read."""


def person_colors(count: int) -> NDArray[np.uint8]:
    """RGB colours uint8 [count, 3]; the ``i``-th is the same for every ``count``."""
    return _PALETTE[np.arange(count) % PALETTE_SIZE]


def draw_people(
    image: ImageArray,
    people: Iterable[tuple[NDArray[np.bool_], Bounds]],
    alpha: float = 0.4,
    texts: Sequence[str] = (),
    boxes_xyxy: FloatArray | None = None,
    color: tuple[int, int, int] | None = None,
    numbers: Sequence[int] = (),
) -> ImageArray:
    """The image with every person tinted, outlined and tagged, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3] RGB; not changed.
        people: each person's mask, bool [h, w], and the window ``x1, y1, x2, y2`` that it fills;
            taken one at a time.
        alpha: opacity of the tint, 0…1.
        texts: what to write on each person, or () for nothing.
        boxes_xyxy: float32 [N, 4] in pixels, to draw in the people's colours, or None.
        color: one RGB colour for all; None for a colour per person.
        numbers: a number from 1 per person, which chooses the colour; () for 1, 2 ….
    """
    canvas = image.copy()
    count = len(boxes_xyxy) if boxes_xyxy is not None else max(len(texts), 1)
    colors = _PALETTE[np.subtract(numbers, 1) % PALETTE_SIZE] if numbers else _colors(count, color)
    width = line_width(image.shape[:2])
    tags: list[Tag] = []
    for person, (mask, bounds) in enumerate(people):
        if person >= len(colors):
            colors = _colors(2 * person, color)
        _tint(canvas, mask, bounds, colors[person], alpha, width)
        if texts:
            tags.append(place_tag(mask, bounds, texts[person], image.shape[:2]))
    if boxes_xyxy is not None:
        draw_boxes(canvas, boxes_xyxy, colors, width)
    return draw_tags(canvas, tags)


def _colors(count: int, color: tuple[int, int, int] | None) -> NDArray[np.uint8]:
    if color is None:
        return person_colors(count)
    return np.tile(np.array(color, np.uint8), (count, 1))


def line_width(size_hw: tuple[int, ...]) -> int:
    """Width in pixels of a line that is visible in an image of ``size_hw`` but hides little."""
    return max(1, round(min(size_hw[:2]) / 350))


def _tint(
    canvas: ImageArray,
    mask: NDArray[np.bool_],
    bounds: Bounds,
    color: NDArray[np.uint8],
    alpha: float,
    width: int,
) -> None:
    if not mask.any():
        return
    x1, y1, x2, y2 = bounds
    region = canvas[y1:y2, x1:x2]
    row = np.tile(color, (x2 - x1, 1))  # by rows: pixel by pixel NumPy takes ten times as long
    solid = np.broadcast_to(row, region.shape).copy()
    tinted = cv2.addWeighted(region, 1 - alpha, solid, alpha, 0)
    cv2.copyTo(tinted, mask.astype(np.uint8), region)  # in place
    cv2.copyTo(solid, mask_rim(mask, width).astype(np.uint8), region)


def mask_rim(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The mask's outermost pixels, without those along the window's border."""
    if mask.size == 0:
        return mask
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=width)
    return np.asarray(mask & (inner == 0))


def draw_boxes(
    canvas: ImageArray, boxes_xyxy: FloatArray, colors: NDArray[np.uint8], width: int
) -> None:
    """Draw boxes [N, 4] into ``canvas``, one colour each."""
    size_hw = (canvas.shape[0], canvas.shape[1])
    for box, color in zip(as_boxes(boxes_xyxy), colors, strict=False):
        x1, y1, x2, y2 = geometry.pixel_bounds(box, size_hw)
        if x2 > x1 and y2 > y1:
            corners = (x1, y1), (x2 - 1, y2 - 1)
            cv2.rectangle(canvas, *corners, tuple(int(value) for value in color), width)


@dataclass(frozen=True)
class Tag:
    """A text around a point of the image, in pixels; a size of 0 is not drawn."""

    text: str
    centre_xy: tuple[float, float]
    size: int


def place_tag(mask: NDArray[np.bool_], bounds: Bounds, text: str, size_hw: tuple[int, ...]) -> Tag:
    """A tag on a person's lower body, far from the edges; over the head where there is no room.

    Its size is 0 for people less tall than a tag; larger images get larger tags. The mask, bool
    [h, w], fills the window ``bounds`` of the image.
    """
    if not mask.any():
        return Tag(text, (0.0, 0.0), 0)
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows = np.flatnonzero(mask.any(axis=1))
    down = (np.arange(len(mask)) - rows[0]) / max(rows[-1] - rows[0], 1)
    # Keep faces visible: the upper part counts little.
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
    return np.array(picture)  # Pillow's own buffer is read-only

"""Random changes of a training photo: scale, mirror, colour and box jitter."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from human_edge_detection.core.geometry import AxisTransform, letterbox
from human_edge_detection.core.structures import FloatArray, ImageArray


@dataclass(frozen=True)
class Augmentation:
    """How much each random change may do; all zero and no flip leaves the photo as it is.

    Attributes:
        zoom: largest relative change of the scale.
        color: largest relative change of brightness, contrast and saturation.
        box: largest shift of each box edge, as a part of the box's side.
        flip: whether half of the photos are mirrored.
        paste: part of the photos into which people from other photos are pasted.
        zoom_middle: scale around which ``zoom`` varies; at 1 the photo just fits.
    """

    zoom: float = 0.0
    color: float = 0.0
    box: float = 0.0
    flip: bool = False
    paste: float = 0.0
    zoom_middle: float = 1.0


def random_view(
    image: ImageArray, size_hw: tuple[int, int], amount: Augmentation, rng: np.random.Generator
) -> tuple[ImageArray, AxisTransform]:
    """The photo letterboxed at a random scale, place, orientation and colour.

    Returns:
        uint8 [H, W, 3] and the transform from source to input pixels.
    """
    zoom = amount.zoom_middle * (1 + amount.zoom * rng.uniform(-1, 1))
    anchor = (rng.uniform(), rng.uniform()) if amount.zoom else (0.5, 0.5)
    view, transform = letterbox(image, size_hw, zoom, anchor)
    if amount.flip and rng.uniform() < 0.5:
        view = np.ascontiguousarray(view[:, ::-1])
        transform = transform.then(AxisTransform.flip_x(size_hw[1]))
    if amount.color:
        view = jitter_color(view, amount.color, rng)
    return view, transform


def jitter_color(image: ImageArray, amount: float, rng: np.random.Generator) -> ImageArray:
    """Brightness, contrast and saturation each scaled by a factor in 1 ± ``amount``, uint8."""
    brightness, contrast, saturation = 1 + amount * rng.uniform(-1, 1, 3)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = float(grey.mean())
    # out = c·b·(s·image + (1 - s)·grey) + (1 - c)·b·mean, in two saturating passes
    mixed = cv2.addWeighted(
        image, saturation, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 1 - saturation, 0
    )
    offset = (1 - contrast) * brightness * mean
    return np.asarray(cv2.addWeighted(mixed, contrast * brightness, mixed, 0, offset), np.uint8)


def jitter_boxes(boxes_xyxy: FloatArray, amount: float, rng: np.random.Generator) -> FloatArray:
    """Boxes float32 [N, 4], each edge shifted by up to ``amount`` times the box's side."""
    sides = np.tile(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 2)
    return (boxes_xyxy + sides * rng.uniform(-amount, amount, sides.shape)).astype(np.float32)

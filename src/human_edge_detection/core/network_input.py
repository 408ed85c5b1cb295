"""Turns a photo into the tensor that a network reads, and remembers how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import AxisTransform, letterbox
from human_edge_detection.core.structures import FloatArray, ImageArray


@dataclass(frozen=True)
class PreparedImage:
    """One photo, letterboxed for a network.

    Attributes:
        tensor: float32 [1, 3, H, W], in the network's own colour order and range.
        transform: from source pixels to the network's input pixels.
        size_hw: height and width of the photo.
        others: the same photo for the further networks of an ensemble.
    """

    tensor: FloatArray
    transform: AxisTransform
    size_hw: tuple[int, int]
    others: tuple[PreparedImage, ...] = ()


def check_image(image: object) -> ImageArray:
    """The image itself, if it is uint8 [H, W, 3] with at least one pixel."""
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise InputError(f"image must be a NumPy array uint8 [H, W, 3] RGB, but got {kind}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            f"image must be uint8 [H, W, 3] RGB, but got {image.dtype} {list(image.shape)}"
        )
    return image


def prepare_image(
    image: ImageArray, input_size_hw: tuple[int, int], *, raw_bgr: bool = False
) -> PreparedImage:
    """The photo letterboxed to ``input_size_hw``.

    Args:
        image: uint8 [H, W, 3] RGB.
        input_size_hw: height and width of the network's input.
        raw_bgr: the network takes BGR in 0…255; otherwise RGB in 0…1.
    """
    check_image(image)
    boxed, transform = letterbox(image, input_size_hw)
    planes = np.ascontiguousarray(boxed[..., ::-1] if raw_bgr else boxed).transpose(2, 0, 1)
    tensor = np.ascontiguousarray(planes[None], np.float32)
    if not raw_bgr:
        tensor /= np.float32(255)
    return PreparedImage(tensor, transform, (image.shape[0], image.shape[1]))

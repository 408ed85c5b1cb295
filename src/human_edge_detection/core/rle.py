"""COCO run lengths, in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]

Rle = dict[str, Any]
"""``size`` [height, width] and ``counts``, COCO's compressed run lengths as text."""


def encode_mask(mask: BoolArray) -> Rle:
    """COCO's compressed RLE of a bool mask [H, W]; ``counts`` is text, so that JSON takes it."""
    from pycocotools import mask as mask_api

    rle = mask_api.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": rle["counts"].decode("ascii")}


def decode_rle(rle: Rle) -> BoolArray:
    """The bool mask [H, W] of a compressed RLE."""
    from pycocotools import mask as mask_api

    return np.asarray(mask_api.decode(rle), np.bool_)

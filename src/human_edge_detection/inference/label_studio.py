"""Masks as tasks for Label Studio: a photo and everybody in it as a brush stroke to correct."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.rle import run_lengths
from human_edge_detection.masks.instance_masks import InstanceMasks

IMAGE_ROOT = "/data/local-files/?d="
"""How Label Studio names a file below the folder that it serves photos from."""

LONGEST_RUN = 1 << 16


def task_of(masks: InstanceMasks, file_name: str, threshold: float) -> dict[str, Any]:
    """One task to import, with the people as predictions of a ``BrushLabels`` tag.

    ``file_name`` is the photo's path below the folder that Label Studio serves.
    """
    height, width = masks.size_hw
    regions = []
    for person, (mask, (x1, y1, x2, y2)) in enumerate(masks.iter_binary(threshold)):
        if mask.any():
            # by rows where COCO's are by columns
            runs = run_lengths(mask.T, (y1, x1, y2, x2), (width, height))
            value = {"format": "rle", "rle": pack(runs), "brushlabels": ["person"]}
            regions.append({
                "id": f"person{masks.numbers[person]}", "type": "brushlabels", "value": value,
                "from_name": "people", "to_name": "image", "image_rotation": 0,
                "original_width": width, "original_height": height,
                "score": round(float(masks.scores[person]), 5),
            })  # fmt: skip
    prediction: dict[str, Any] = {"model_version": "human-edge-detection", "result": regions}
    if regions:
        prediction["score"] = round(float(np.mean([region["score"] for region in regions])), 5)
    address = f"{IMAGE_ROOT}{quote(file_name, errors='surrogateescape')}"
    return {"data": {"image": address}, "predictions": [prediction]}


def pack(runs: list[int]) -> list[int]:
    """The bytes of Label Studio's run lengths, of pixels by rows, outside and inside in turn.

    The format: 32 bits for the number of values, four for each pixel (RGBA); 5 for a value's size
    less 1; four times 4 for the sizes of lengths less 1. Then for each run a 1, the number of its
    size of lengths in 2 bits, its length less 1, its value 0 or 255.
    """
    lengths: list[int] = []
    values: list[int] = []
    for place, run in enumerate(runs):
        left = 4 * run
        while left > 0:
            lengths.append(min(left, LONGEST_RUN))
            values.append(255 * (place % 2))
            left -= lengths[-1]
    words = 0b1_00 << 24 | np.subtract(lengths, 1) << 8 | np.array(values, np.int64)
    header = _bits(np.array([sum(lengths)]), 32), _bits(np.array([7]), 5)
    sizes = _bits(np.array([15, 15, 15, 15]), 4)
    return np.packbits(np.concatenate([*header, sizes, _bits(words, 27)])).tolist()


def _bits(words: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """The last ``size`` bits of each word, the highest first."""
    octets = np.asarray(words).astype(">u4").view(np.uint8).reshape(-1, 4)
    return np.unpackbits(octets, axis=1)[:, 32 - size :].ravel()

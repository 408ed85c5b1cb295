"""Draws the README's picture, a drawn crowd, its masks and its cut-outs, by the shipped model.

uv run python release/draw_picture.py docs/images/crowd.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import save_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.sample import draw_crowd

SEED, SIZE_HW, PEOPLE = 127, (480, 720), 6
GAP = 8
SCALE = 0.6
PAPER = (244, 242, 238)


def main(target: Path) -> None:
    """Write the picture: photo and masks side by side, the cut-outs in a row below."""
    image, _, _ = draw_crowd(SEED, SIZE_HW, PEOPLE)
    with MaskPredictor(device="cpu") as predictor:
        masks = predictor.segment(image)
    gap = np.full((SIZE_HW[0], GAP, 3), PAPER, np.uint8)
    above = np.hstack([image, gap, masks.overlay(image)])
    below = in_a_row(masks.cutouts(image), above.shape[1])
    save_image(target, np.vstack([above, below]))


def in_a_row(cutouts: Sequence[ImageArray], width: int) -> ImageArray:
    """Cut-outs uint8 [h, w, 4] evenly spread over a row uint8 [H, width, 3], feet at one height."""
    smaller = [
        cv2.resize(cutout, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
        for cutout in cutouts
    ]
    bottom = GAP + max(len(cutout) for cutout in smaller)
    row = np.full((bottom + GAP, width, 3), PAPER, np.float32)
    space = (width - sum(cutout.shape[1] for cutout in smaller)) // (len(smaller) + 1)
    left = space
    for cutout in smaller:
        height, own, _ = cutout.shape
        place, alpha = row[bottom - height : bottom, left : left + own], cutout[..., 3:] / 255
        place[:] = alpha * cutout[..., :3] + (1 - alpha) * place
        left += own + space
    return row.round().astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)

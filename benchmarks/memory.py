"""Memory after many predictions of photos of mixed sizes: the resident set, and its slope.

uv run python benchmarks/memory.py --count 20000 --longest 640

Photos are noise of 64 pixels to ``--longest`` a side, with no to twelve boxes each; every third one
gives all results too. One model is open all the time. The first 500 predictions, in which caches
fill, do not count.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import time
from pathlib import Path

import numpy as np

from human_edge_detection import MaskPredictor

SETTLED = 500
"""Predictions before the slope is measured."""


def resident_mb(trim: bool) -> float:
    """What is resident now, in MB, after a collection of garbage.

    Args:
        trim: first give back what glibc keeps between blocks, to tell gaps from leaks.
    """
    gc.collect()
    if trim:
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def predict_one(
    predictor: MaskPredictor, rng: np.random.Generator, longest: int, full: bool
) -> int:
    """One photo of a random size with random boxes; the number of people comes back."""
    height, width = (int(side) for side in rng.integers(64, longest + 1, 2))
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    count = int(rng.integers(0, 13))
    corners = rng.uniform(0, 1, (count, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)
    predictor.set_image(image)
    masks = predictor.predict(boxes.astype(np.float32))
    masks.label_map()
    if full:
        masks.overlay(image)
        masks.to_coco(1, "a.jpg")
        masks.polygons()
        masks.cutouts(image)
    return count


def main() -> None:
    """Print a line every 500 predictions, then the slope."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--longest", type=int, default=640, help="longest side of a photo")
    parser.add_argument("--model", help="an exported head (default: the model that ships)")
    parser.add_argument("--extractor", help="its extractor")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trim", action="store_true", help="read after malloc_trim (glibc)")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    start, people = time.monotonic(), 0
    at, resident = [0], []
    with MaskPredictor(
        given.model, given.extractor, device="cpu", threads=given.threads
    ) as predictor:
        resident.append(resident_mb(given.trim))
        for number in range(1, given.count + 1):
            people += predict_one(predictor, rng, given.longest, number % 3 == 0)
            if number % 100 == 0:
                at.append(number)
                resident.append(resident_mb(given.trim))
            if number % 500 == 0:
                seconds = time.monotonic() - start
                print(f"{number}: {resident[-1]:.1f} MB, {seconds:.0f} s", flush=True)
    settled = np.array(at) >= SETTLED
    if settled.sum() > 2:
        later = np.array(resident)[settled]
        slope = np.polyfit(np.array(at)[settled], later, 1)[0] * 1000
        print(
            f"{given.count} predictions, {people} people: {resident[0]:.0f} MB at first, "
            f"{later.min():.0f} to {later.max():.0f} MB from {SETTLED} on, slope {slope:+.2f} MB "
            "in 1,000"
        )


if __name__ == "__main__":
    main()

"""ONNX Runtime's threads that wait busily after a run, against threads that sleep.

Each way runs in processes of its own, in turn: a busy thread takes a core from everything else.

uv run python benchmarks/spinning.py [--people 1 5 20 100] [--turns 3] [--repeats 20]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from human_edge_detection import MaskPredictor
from human_edge_detection.data.sample import draw_crowd
from human_edge_detection.runtime import sessions as runtime

WAYS = {"sleeping": "0", "spinning": "1"}
KEY = "session.intra_op.allow_spinning"


def measure(allow: str, people: Sequence[int], repeats: int) -> list[float]:
    """Median milliseconds from a photo and boxes to masks, for each number of people."""
    usual = runtime._session_options

    def changed(*arguments: Any) -> Any:
        options = usual(*arguments)
        options.add_session_config_entry(KEY, allow)
        return options

    runtime._session_options = changed
    image, _, _ = draw_crowd(0, (720, 1280), 20)
    rng = np.random.default_rng(0)
    medians = []
    with MaskPredictor(device="cpu") as predictor:
        for count in people:
            low = rng.uniform(0, (1000, 400), (count, 2))
            boxes = np.concatenate([low, low + rng.uniform(60, (280, 320), (count, 2))], axis=1)
            seconds = []
            for _ in range(repeats + 2):
                started = time.perf_counter()
                predictor.set_image(image)
                predictor.predict(boxes.astype(np.float32))
                seconds.append(time.perf_counter() - started)
            medians.append(1000 * float(np.median(seconds[2:])))
    return medians


def main() -> None:
    """Print a table of medians over the turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, nargs="*", default=(1, 5, 20, 100))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    context = multiprocessing.get_context("spawn")
    for _ in range(arguments.turns):
        for way, allow in WAYS.items():
            with context.Pool(1) as pool:
                given = (allow, arguments.people, arguments.repeats)
                found[way].append(pool.apply(measure, given))
    print("| people | sleeping, ms | spinning, ms | sleeping / spinning, turn by turn |")
    print("|---|---|---|---|")
    for column, people in enumerate(arguments.people):
        one, other = (np.array([turn[column] for turn in found[way]]) for way in WAYS)
        ratios = ", ".join(f"{ratio:.2f}" for ratio in one / other)
        print(f"| {people} | {np.median(one):.0f} | {np.median(other):.0f} | {ratios} |")


if __name__ == "__main__":
    main()

"""The shipped model on a photo with given people, in turn with another ONNX network, as a ratio.

Ours is all networks and the masks of a 480x640 photo, from the letterboxed photo on. The other
network gets an image of the size that its file fixes, and is not decoded. One thread each.

    uv run python benchmarks/against_network.py NET.onnx [--people 5] [--head HEAD.onnx]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from human_edge_detection import MaskPredictor
from human_edge_detection.inference.benchmark import person_boxes
from human_edge_detection.runtime.sessions import SessionOptions, open_session

SIZE_HW = (480, 640)


def milliseconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """How long ``work`` takes by a clock."""
    started = clock()
    work()
    return 1000 * (clock() - started)


def main() -> None:
    """Print medians and percentiles of the ratios round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--head", type=Path, help="another than builtin, its extractor beside it")
    parser.add_argument(
        "--cpu_seconds", action="store_true", help="CPU time, where other work runs on the machine"
    )
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_seconds else time.perf_counter
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (*SIZE_HW, 3), np.uint8)
    boxes = person_boxes(SIZE_HW, arguments.people)
    other = open_session(arguments.network, SessionOptions("cpu", threads=1))
    source = other.get_inputs()[0]
    theirs = rng.random(source.shape, np.float32)
    with MaskPredictor(arguments.head, device="cpu", threads=1) as predictor:
        prepared = predictor.prepare(photo)
        encoded = predictor.encode(prepared)
        works = (
            lambda: other.run(None, {source.name: theirs}),
            lambda: predictor.encode(prepared),
            lambda: predictor.decode(encoded, boxes),
        )
        rounds = range(arguments.rounds + 3)
        times = np.array([[milliseconds(work, clock) for work in works] for _ in rounds])
    network, extractor, people = times[3:].T
    for name, column in (("network", network), ("extractor", extractor), ("masks", people)):
        print(f"{name}: {np.median(column):.1f} ms")
    low, middle, high = np.percentile((extractor + people) / network, (10, 50, 90))
    print(f"{arguments.people} people: {middle:.2f} [{low:.2f}, {high:.2f}] of the network")


if __name__ == "__main__":
    main()

"""The shipped model's networks for a photo, in turn with another ONNX network, as a ratio.

Each network runs alone, without decoding or pasting. The other one, all of it, gets an image of the
size that its file fixes.

uv run python benchmarks/against_network.py NET.onnx [--people 5] [--head HEAD.onnx]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from human_edge_detection.runtime.detector import DetectorSession
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, default_model
from human_edge_detection.runtime.sessions import ON_CPU, open_session


def milliseconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    """Print medians and the median of the ratios round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--head", type=Path, help="another than builtin, its extractor beside it")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    path = arguments.head or default_model(ON_CPU)[0]
    head = HeadSession(path, ON_CPU)
    ours = DetectorSession(path.with_name(EXTRACTOR_NAME), ON_CPU, layers=head.facts.layers)
    other = open_session(arguments.network, ON_CPU)
    source = other.get_inputs()[0]
    height, width = head.facts.image_size
    photo = ours.prepare(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8))
    theirs = rng.random(source.shape, dtype=np.float32)
    low = rng.uniform(0, 0.5, (arguments.people, 2)) * (width, height)
    boxes = np.concatenate([low, low + np.array([0.2 * width, 0.45 * height])], axis=1)
    rois = np.concatenate([np.zeros((len(boxes), 1)), boxes], axis=1).astype(np.float32)
    maps = [
        rng.random((1, c, round(height / s), round(width / s)), dtype=np.float32)
        for c, s in zip(head.facts.channels, head.facts.strides, strict=True)
    ]
    works = (
        lambda: other.run(None, {source.name: theirs}),
        lambda: ours.run(photo),
        lambda: head(maps, rois),
    )
    times = np.array([[milliseconds(work) for work in works] for _ in range(arguments.rounds + 3)])
    network, extractor, people = times[3:].T
    for name, column in (("network", network), ("extractor", extractor), ("head", people)):
        print(f"{name}: {np.median(column):.1f} ms")
    ratio = np.median((extractor + people) / network)
    print(f"extractor, detector and head for {arguments.people} people: {ratio:.2f} of the network")


if __name__ == "__main__":
    main()

"""A guard of the heads' speed: ratios of CPU time within one run, with room for a busy machine.

One thread and the process's own CPU seconds, so that other programs do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.export.head import head_model
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.sessions import SessionOptions

CHANNELS, STRIDE, SIDE = 32, 8.0, 160
FEATURES = [np.zeros((1, CHANNELS, SIDE // 8, SIDE // 8), np.float32)]


def open_head(
    kind: str, folder: Path, roi_size: int = 28, small_branch: bool = False
) -> HeadSession:
    """An untrained head on a small map, exported as users run it."""
    spec = ModelSpec(
        kind, ("map",), (CHANNELS,), (STRIDE,), (SIDE, SIDE), roi_size, small_branch=small_branch
    )
    torch.manual_seed(0)
    path = folder / f"{kind}.onnx"
    path.write_bytes(head_model(build_head(spec), spec).SerializeToString())
    return HeadSession(path, SessionOptions("cpu", threads=1))


def rois(people: int) -> np.ndarray:
    boxes = np.tile(np.array([0, 20, 10, 100, 140], np.float32), (people, 1))
    boxes[:, 1:] += np.linspace(-8, 8, people, dtype=np.float32)[:, None]
    return boxes


def ratio(slow: Callable[[], object], fast: Callable[[], object], rounds: int) -> float:
    """CPU time of ``slow`` over that of ``fast``, each the quickest of runs that take turns."""
    found: dict[Callable[[], object], list[float]] = {slow: [], fast: []}
    for _ in range(rounds):
        for run, seconds in found.items():
            started = time.process_time()
            run()
            seconds.append(time.process_time() - started)
    return min(found[slow]) / min(found[fast])


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> HeadSession:
    head = open_head("lite", tmp_path_factory.mktemp("lite"))
    head(FEATURES, rois(10))  # warm
    return head


def test_a_hundred_people_cost_ten_times_what_ten_do(tmp_path):
    """With few bins, so that both fit the caches, which busy machines share."""
    head = open_head("lite", tmp_path, roi_size=12)
    assert ratio(lambda: head(FEATURES, rois(100)), lambda: head(FEATURES, rois(10)), 5) < 14


def test_the_lite_head_costs_a_small_part_of_the_spec_head(lite, tmp_path):
    spec = open_head("spec", tmp_path)
    assert ratio(lambda: spec(FEATURES, rois(5)), lambda: lite(FEATURES, rois(5)), 3) > 20


def test_small_people_cost_less_than_half_of_others(tmp_path):
    """A quarter of the work is theirs, and the neck's that all share."""
    head = open_head("lite", tmp_path, small_branch=True)
    small = rois(40)
    small[:, 3:] = small[:, 1:3] + head.facts.small_side
    large = small.copy()
    large[:, 3:] += 0.5
    assert ratio(lambda: head(FEATURES, large), lambda: head(FEATURES, small), 5) > 2

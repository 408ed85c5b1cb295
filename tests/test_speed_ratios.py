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

from human_edge_detection.export_onnx import head_model
from human_edge_detection.head_session import HeadSession
from human_edge_detection.model import ModelSpec, build_head

CHANNELS, STRIDE, SIDE = 32, 8.0, 160
FEATURES = [np.zeros((1, CHANNELS, SIDE // 8, SIDE // 8), np.float32)]


def open_head(kind: str, folder: Path) -> HeadSession:
    """An untrained head on a small map, exported as users run it."""
    spec = ModelSpec(kind, ("map",), (CHANNELS,), (STRIDE,), image_size=(SIDE, SIDE))
    torch.manual_seed(0)
    path = folder / f"{kind}.onnx"
    path.write_bytes(head_model(build_head(spec), spec).SerializeToString())
    return HeadSession(path, "cpu", threads=1)


def rois(people: int) -> np.ndarray:
    boxes = np.tile(np.array([0, 20, 10, 100, 140], np.float32), (people, 1))
    boxes[:, 1:] += np.linspace(-8, 8, people, dtype=np.float32)[:, None]
    return boxes


def least(run: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the quickest of some runs."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return min(found)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> HeadSession:
    head = open_head("lite", tmp_path_factory.mktemp("lite"))
    head(FEATURES, rois(10))  # warm
    return head


def test_a_hundred_people_cost_ten_times_what_ten_do(lite):
    ten = least(lambda: lite(FEATURES, rois(10)), 5)
    hundred = least(lambda: lite(FEATURES, rois(100)), 3)
    assert hundred / ten < 14


def test_the_lite_head_costs_a_small_part_of_the_spec_head(lite, tmp_path):
    spec = open_head("spec", tmp_path)
    light = least(lambda: lite(FEATURES, rois(5)), 5)
    heavy = least(lambda: spec(FEATURES, rois(5)), 1)
    assert heavy / light > 20

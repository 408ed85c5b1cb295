"""The head on a CPU: a crowd is shared out among threads, with the same logits for everybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.export.head import export_end_to_end, export_head
from human_edge_detection.masks.probabilities import softmax
from human_edge_detection.modeling.heads import build_head
from human_edge_detection.runtime import head as head_session
from human_edge_detection.runtime.head import LEAST_PER_THREAD, HeadSession
from human_edge_detection.runtime.sessions import SessionOptions
from stand_in import write_stand_in

SPEC = ModelSpec(
    "lite", ("p4", "p8"), (6, 8), (4.0, 8.0), image_size=(64, 96), roi_size=8, small_branch=True
)


def some_rois(count: int) -> FloatArray:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 40, (count, 2))
    sides = rng.uniform(4, 50, (count, 2))
    return np.concatenate([np.zeros((count, 1)), low, low + sides], 1).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("head") / "head.onnx"
    export_head(build_head(SPEC), SPEC, path)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The number of threads of each session that is opened."""
    threads: list[int | None] = []

    def open_session(path: Path, options: SessionOptions, **settings: bool) -> ort.InferenceSession:
        threads.append(options.threads)
        return real(path, options, **settings)

    real = head_session.open_session
    monkeypatch.setattr(head_session, "open_session", open_session)
    return threads


def maps() -> list[FloatArray]:
    rng = np.random.default_rng(1)
    sizes = ((6, 16, 24), (8, 8, 12))
    return [rng.standard_normal((1, *size)).astype(np.float32) for size in sizes]


@pytest.mark.parametrize("count", [2 * LEAST_PER_THREAD, 2 * LEAST_PER_THREAD + 7])
def test_each_person_of_a_crowd_has_the_logits_it_has_alone(
    path: Path, opened: list[int | None], count: int
) -> None:
    head = HeadSession(path, SessionOptions("cpu", threads=2))
    rois = some_rois(count)
    found = head(maps(), rois)
    assert opened == [2, 1]
    alone = HeadSession(path, SessionOptions("cpu", threads=1))
    for person in range(count):
        own = alone(maps(), rois[person : person + 1])
        np.testing.assert_allclose(found[person : person + 1], own, atol=1e-5)
    head(maps(), rois)
    assert opened == [2, 1, 1]  # the crowd's session was opened once


@pytest.mark.parametrize("count", [0, 3, 2 * LEAST_PER_THREAD + 1])
def test_probabilities_are_the_softmax_of_the_logits(path: Path, count: int) -> None:
    head = HeadSession(path, SessionOptions("cpu", threads=2))
    found = head.probabilities(maps(), some_rois(count))
    np.testing.assert_array_equal(found, softmax(head(maps(), some_rois(count))))


def test_few_people_share_the_threads_of_one_session(path: Path, opened: list[int | None]) -> None:
    head = HeadSession(path, SessionOptions("cpu", threads=2))
    for count in (0, 1, 2 * LEAST_PER_THREAD - 1):
        assert head(maps(), some_rois(count)).shape == (count, 3, 16, 16)
    assert opened == [2]


def test_max_rois_bounds_all_threads_together(path: Path, opened: list[int | None]) -> None:
    rois = some_rois(3 * LEAST_PER_THREAD)
    few = HeadSession(path, SessionOptions("cpu", threads=2, max_rois=2 * LEAST_PER_THREAD - 1))
    whole = HeadSession(path, SessionOptions("cpu", threads=1))
    np.testing.assert_allclose(few(maps(), rois), whole(maps(), rois), atol=1e-5)
    assert opened == [2, 1]


def test_an_end_to_end_file_runs_its_extractor_once(
    tmp_path: Path, opened: list[int | None]
) -> None:
    layer = "/model.14/Concat_output_0"
    extractor = write_stand_in(tmp_path / "net.onnx", layer=layer, channels=8, size_hw=(64, 64))
    spec = replace(SPEC, layers=(layer,), channels=(8,), strides=(8.0,), image_size=(64, 64))
    export_end_to_end(build_head(spec), spec, extractor, tmp_path / "whole.onnx")
    head = HeadSession(tmp_path / "whole.onnx", SessionOptions("cpu", threads=2))
    image = np.zeros((1, 3, 64, 64), np.float32)
    assert len(head([image], some_rois(2 * LEAST_PER_THREAD))) == 2 * LEAST_PER_THREAD
    assert opened == [2]


def test_a_closed_head_says_so(path: Path) -> None:
    head = HeadSession(path, SessionOptions("cpu", threads=2))
    head.close()
    with pytest.raises(RuntimeError, match="closed"):
        head(maps(), some_rois(2 * LEAST_PER_THREAD))

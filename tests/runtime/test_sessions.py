"""Sessions: the hardware that is there, and words for what is not."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from analytic_model import write_head
from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime import providers as runtime
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.providers import CPU, CUDA, TENSORRT, Provider, choose_providers
from human_edge_detection.runtime.sessions import ON_CPU, SessionOptions, open_session
from stand_in import write_stand_in


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stand_in(tmp_path / "m.onnx", channels=4, size_hw=(16, 16))


def pretend(monkeypatch: pytest.MonkeyPatch, *working: str) -> None:
    missing = lambda name: None if name in working else "it is not here"  # noqa: E731
    monkeypatch.setattr(runtime, "_missing", missing)


def test_auto_takes_the_best_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CPU)
    assert choose_providers("auto") == [CPU]
    pretend(monkeypatch, CPU, CUDA)
    assert choose_providers("auto") == [CUDA, CPU]
    pretend(monkeypatch, CPU, CUDA, TENSORRT)
    assert choose_providers("auto") == [TENSORRT, CUDA, CPU]
    assert choose_providers("cuda") == [CUDA, CPU]
    assert choose_providers("cpu") == [CPU]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    pretend(monkeypatch, CPU)
    with pytest.raises(InputError, match=rf"device {device} .*onnxruntime-gpu.*device c"):
        choose_providers(device)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="device gpu is unknown: use auto, cpu, cuda, tensorrt"):
        choose_providers("gpu")
    with pytest.raises(InputError, match=r"NoSuchExecutionProvider.*available here"):
        choose_providers("auto", ["NoSuchExecutionProvider"])
    with pytest.raises(InputError, match="empty"):
        choose_providers("auto", [])


@pytest.mark.parametrize("text", [b"images", b"height"])
def test_names_that_are_not_text_are_refused(tmp_path: Path, text: bytes) -> None:
    path = write_stand_in(tmp_path / "m.onnx", channels=4, size_hw=("height", 16))
    path.write_bytes(path.read_bytes().replace(text, b"\x80" + text[1:]))
    with pytest.raises(InputError, match=r"m\.onnx has text that is not UTF-8"):
        open_session(path, ON_CPU)


SPECIFIED = [TENSORRT, CUDA, CPU]


@pytest.mark.parametrize(
    "providers",
    [
        SPECIFIED,
        ["TensorRT", "CUDA", "CPU"],
        [(TENSORRT, {"trt_fp16_enable": True}), ("cuda", {"device_id": 0}), "cpu"],
    ],
)
def test_several_providers_are_an_order_of_preference(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, providers: list[Provider]
) -> None:
    pretend(monkeypatch, CPU)
    runtime.warn_once.cache_clear()
    for _ in range(3):  # a model opens several sessions
        assert choose_providers("cuda", providers) == [CPU]
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert f"left out {TENSORRT}, because it is not here; {CUDA}, because" in caplog.text
    assert f"Running on {CPU}" in caplog.text
    pretend(monkeypatch, *SPECIFIED)
    assert [runtime.provider_name(item) for item in choose_providers("cpu", providers)] == (
        SPECIFIED
    )
    pretend(monkeypatch, TENSORRT)
    with pytest.raises(InputError, match=f"providers asks for {CUDA}, but it is not here: install"):
        choose_providers("cpu", ["cuda", "cpu"])


def test_the_call_of_the_specification_runs_on_a_machine_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, model: Path
) -> None:
    pretend(monkeypatch, CPU)
    runtime.warn_once.cache_clear()
    extractor = YOLOv9FeatureExtractor(str(model), device="cuda", providers=SPECIFIED)
    with extractor:
        (features,) = extractor(np.zeros((1, 3, 16, 16), np.float32))
    assert features.shape[:2] == (1, 4)
    assert len([item for item in caplog.records if item.levelno == logging.WARNING]) == 1
    with pytest.raises(InputError, match="device cuda asks for"):
        YOLOv9FeatureExtractor(str(model), device="cuda")


def test_falling_back_within_the_providers_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real = ort.InferenceSession
    pretend(monkeypatch, CPU, CUDA)
    monkeypatch.setattr(ort, "InferenceSession", lambda m, o, **_: real(m, o, [CPU]))
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    open_session(model, SessionOptions(providers=[CUDA, CPU]))
    assert f"fell back to {CPU}" in caplog.text
    with pytest.raises(InputError, match="fell back"):
        open_session(model, SessionOptions(providers=[CUDA]))


def test_providers_with_options_pass_through() -> None:
    wish = [(CPU, {"arena_extend_strategy": "kSameAsRequested"})]
    assert choose_providers("cuda", wish) == wish


def test_the_real_provider_is_logged(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "human_edge_detection.runtime.sessions"):
        session = open_session(model, ON_CPU)
    assert session.get_providers() == [CPU]
    assert f"{model} runs on {CPU}" in caplog.text


def test_falling_back_is_an_error_when_asked_for_and_a_warning_in_auto(
    monkeypatch: pytest.MonkeyPatch, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real = ort.InferenceSession
    pretend(monkeypatch, CPU, CUDA)
    monkeypatch.setattr(ort, "InferenceSession", lambda m, o, **_: real(m, o, [CPU]))
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(InputError, match=f"device cuda asks for {CUDA}.*fell back to {CPU}"):
        open_session(model, SessionOptions("cuda"))
    open_session(model, SessionOptions("auto"))
    assert "fell back" in caplog.text and "onnxruntime-gpu" in caplog.text


def test_bad_files_are_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.onnx does not exist"):
        open_session(tmp_path / "nowhere.onnx")
    with pytest.raises(InputError, match="is a folder"):
        open_session(tmp_path)
    for name, data in {
        "empty.onnx": b"",
        "text.onnx": b"<!DOCTYPE html><html>sign in first</html>",
        "cut.onnx": model.read_bytes()[:300],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=rf"{name}.*again"):
            open_session(tmp_path / name)


def test_tensorrt_engines_are_cached_beside_the_onnx_file(tmp_path: Path) -> None:
    folder = runtime.engine_folder("abc", tmp_path)
    assert folder == tmp_path / "tensorrt_engines" / "abc" and folder.is_dir()
    options = runtime.tensorrt_options(folder)
    assert options["trt_fp16_enable"] == options["trt_engine_cache_enable"] == "True"
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(folder)


@pytest.mark.parametrize("beside", [None, "a file, not a folder"])
def test_engines_go_to_the_users_cache_where_that_folder_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    beside: str | None,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if beside is not None:
        (tmp_path / beside).touch()
    folder = runtime.engine_folder("abc", None if beside is None else tmp_path / beside)
    assert folder == tmp_path / "cache" / "human_edge_detection" / "tensorrt" / "abc"
    assert folder.is_dir()
    assert (f"engines are cached in {folder}" in caplog.text) == (beside is not None)


def test_a_session_on_tensorrt_says_where_its_engines_are(
    monkeypatch: pytest.MonkeyPatch, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[list[object]] = []

    class Started(ort.InferenceSession):
        def __init__(self, model: bytes, _: object, providers: list[object], **__: object) -> None:
            super().__init__(model, providers=[CPU])
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return [TENSORRT]

    pretend(monkeypatch, CPU, TENSORRT)
    monkeypatch.setattr(ort, "InferenceSession", Started)
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    with caplog.at_level(logging.INFO, "human_edge_detection.runtime.sessions"):
        open_session(model, SessionOptions("tensorrt"))
    folder = model.parent / "tensorrt_engines"
    assert f"{model}: TensorRT engines are cached in {folder}" in caplog.text
    (name, options), cpu = asked[0]  # type: ignore[misc]
    assert (name, cpu) == (TENSORRT, CPU)
    assert Path(options["trt_engine_cache_path"]).parent == folder


def test_threads_do_not_wait_busily_for_the_next_run(model: Path) -> None:
    options = open_session(model, ON_CPU).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("fails", [True, False])
def test_a_head_leaves_out_the_layout_that_fails_without_rows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr("human_edge_detection.runtime.sessions.EMPTY_FAILS", fails)
    level = ort.GraphOptimizationLevel
    head = open_session(write_head(tmp_path / "head.onnx"), ON_CPU).get_session_options()
    wanted = level.ORT_ENABLE_EXTENDED if fails else level.ORT_ENABLE_ALL
    assert head.graph_optimization_level == wanted
    network = open_session(model, ON_CPU).get_session_options()
    assert network.graph_optimization_level == level.ORT_ENABLE_ALL

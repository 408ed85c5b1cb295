"""Sessions: the hardware that is there, and words for what is not."""

from __future__ import annotations

import logging
from pathlib import Path

import onnxruntime as ort
import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime import sessions as runtime
from human_edge_detection.runtime.sessions import (
    CPU,
    CUDA,
    TENSORRT,
    choose_providers,
    open_session,
)
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
    with pytest.raises(InputError, match=rf"--device {device} .*onnxruntime-gpu.*--device c"):
        choose_providers(device)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="--device gpu is unknown: use auto, cpu, cuda, tensorrt"):
        choose_providers("gpu")
    with pytest.raises(InputError, match=r"NoSuchExecutionProvider.*available here"):
        choose_providers("auto", ["NoSuchExecutionProvider"])
    with pytest.raises(InputError, match="empty"):
        choose_providers("auto", [])


def test_providers_with_options_pass_through() -> None:
    wish = [(CPU, {"arena_extend_strategy": "kSameAsRequested"})]
    assert choose_providers("cuda", wish) == wish


def test_the_real_provider_is_logged(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "human_edge_detection.runtime.sessions"):
        session = open_session(model, "cpu")
    assert session.get_providers() == [CPU]
    assert f"{model} runs on {CPU}" in caplog.text


def test_falling_back_is_an_error_when_asked_for_and_a_warning_in_auto(
    monkeypatch: pytest.MonkeyPatch, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real = ort.InferenceSession
    pretend(monkeypatch, CPU, CUDA)
    monkeypatch.setattr(ort, "InferenceSession", lambda m, o, providers: real(m, o, [CPU]))
    monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)
    with pytest.raises(InputError, match=f"--device cuda asks for {CUDA}.*fell back to {CPU}"):
        open_session(model, "cuda")
    open_session(model, "auto")
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


def test_tensorrt_engines_are_kept_under_the_models_hash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    profile = {"rois": ((0, 5), (8, 5), (128, 5))}
    options = runtime.tensorrt_options("abc", profile)
    assert options["trt_fp16_enable"] == "True"
    assert options["trt_engine_cache_path"] == str(
        tmp_path / "human_edge_detection" / "tensorrt" / "abc"
    )
    assert options["trt_profile_min_shapes"] == "rois:0x5"
    assert options["trt_profile_max_shapes"] == "rois:128x5"
    assert "trt_profile_min_shapes" not in runtime.tensorrt_options("abc")


def test_threads_do_not_wait_busily_for_the_next_run(model: Path) -> None:
    options = open_session(model, "cpu").get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"

"""ONNX Runtime sessions: which hardware runs them, and what to do when it is not there."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from human_edge_detection.core.errors import InputError

logger = logging.getLogger(__name__)

TENSORRT = "TensorrtExecutionProvider"
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
CHAINS = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
REMEDIES = {
    CUDA: "install the GPU build (pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,"
    "cudnn]') on a machine with an NVIDIA driver, or use --device cpu",
    TENSORRT: "install it (pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]' "
    "tensorrt) on a machine with an NVIDIA driver, or use --device cuda or cpu",
}

Provider = str | tuple[str, dict[str, str]]
Profile = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]
"""Smallest, usual and largest shape of each input whose shape varies, for TensorRT."""


def user_cache_dir() -> Path:
    """The folder for files that can be made again: engines, the built-in extractor."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "human_edge_detection"


def short_hash(data: bytes) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()[:12]


def read_model(path: Path | str) -> bytes:
    """The bytes of a model file.

    Raises:
        InputError: if there is no such file, it is a folder, or it is empty.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"model {path} is a folder: name the .onnx file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"model {path} does not exist: check the path") from None
    except OSError as error:
        raise InputError(f"model {path} cannot be read: {error.strerror}") from error
    if not data:
        raise InputError(f"model {path} is empty: download or export it again")
    return data


@functools.cache
def _has_gpu() -> bool:
    name = ctypes.util.find_library("cuda") or ("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return False
    return count.value > 0


@functools.cache
def _has_tensorrt() -> bool:
    # The wheel of TensorRT hides its libraries; importing it is what makes them findable.
    if importlib.util.find_spec("tensorrt") is not None:
        importlib.import_module("tensorrt")
        return True
    for name in ("libnvinfer.so.10", "nvinfer_10.dll"):
        try:
            ctypes.CDLL(name)
            return True
        except OSError:
            continue
    return False


def _missing(provider: str) -> str | None:
    """Why a provider cannot work here, or None if it can."""
    if provider not in ort.get_available_providers():
        return f"this onnxruntime ({ort.__version__}) was built without it"
    if provider in (CUDA, TENSORRT) and not _has_gpu():
        return "there is no NVIDIA GPU or driver"
    if provider == TENSORRT and not _has_tensorrt():
        return "the TensorRT libraries (libnvinfer 10) are not installed"
    return None


def _no_provider(wish: str, provider: str, reason: str) -> InputError:
    remedy = REMEDIES.get(provider, f"available here: {', '.join(ort.get_available_providers())}")
    return InputError(f"{wish} asks for {provider}, but {reason}: {remedy}")


def choose_providers(
    device: str = "auto", providers: Sequence[Provider] | None = None
) -> list[Provider]:
    """The execution providers to ask for, best first.

    Args:
        device: ``cpu``, ``cuda``, ``tensorrt``, or ``auto`` for the best that works here.
        providers: ONNX Runtime's own names (with options, if wanted), used instead of ``device``.

    Raises:
        InputError: if what was asked for by name cannot work here; it says what to install.
    """
    if providers is not None:
        if not providers:
            raise InputError("providers is empty: name at least CPUExecutionProvider")
        wish, chain = "providers", list(providers)
    elif device == "auto":
        return [name for name in CHAINS["tensorrt"] if _missing(name) is None]
    elif device in CHAINS:
        wish, chain = f"--device {device}", list(CHAINS[device])
    else:
        raise InputError(f"--device {device} is unknown: use auto, {', '.join(CHAINS)}")
    first = _provider_name(chain[0])
    if reason := _missing(first):
        raise _no_provider(wish, first, reason)
    return [item for item in chain if _missing(_provider_name(item)) is None]


def _provider_name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def tensorrt_options(model_hash: str, profile: Profile | None = None) -> dict[str, str]:
    """Options of the TensorRT provider: FP16, and engines cached under the model's hash.

    Args:
        model_hash: names the engines, so that another model never meets them.
        profile: shapes to build for; without it an engine is rebuilt when a new shape comes.
    """
    folder = user_cache_dir() / "tensorrt" / model_hash
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }
    for place, kind in enumerate(("min", "opt", "max")):
        if profile:
            options[f"trt_profile_{kind}_shapes"] = ",".join(
                f"{name}:{'x'.join(map(str, shapes[place]))}" for name, shapes in profile.items()
            )
    return options


def _with_options(
    providers: Sequence[Provider], model: bytes, profile: Profile | None
) -> Iterator[Provider]:
    for provider in providers:
        if provider == TENSORRT:
            yield TENSORRT, tensorrt_options(short_hash(model), profile)
        else:
            yield provider


def _session_options(threads: int | None, data_dir: Path | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait busily after a run take the cores from the next network and from pasting.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads:
        options.intra_op_num_threads = threads
    if data_dir is not None:  # a model given as bytes does not know where its weights lie
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(data_dir.resolve()))
    return options


def open_session(
    model: Path | bytes,
    device: str = "auto",
    providers: Sequence[Provider] | None = None,
    threads: int | None = None,
    *,
    label: str = "",
    data_dir: Path | None = None,
    profile: Profile | None = None,
    quietly: bool = False,
) -> ort.InferenceSession:
    """An ONNX Runtime session on the hardware asked for; never quietly on another.

    Args:
        model: a file, or a serialized model.
        device: see :func:`choose_providers`.
        providers: see :func:`choose_providers`.
        threads: CPU threads of one operation; None for ONNX Runtime's choice.
        label: how messages call a model given as bytes.
        data_dir: folder of external weights of a model given as bytes.
        profile: shapes that TensorRT builds its engine for.
        quietly: do not tell what runs where, for a file that is open already.

    Raises:
        InputError: if the file is missing, empty, truncated or no ONNX model, or the hardware
            that was asked for by name is not there.
    """
    label = label or ("the given model" if isinstance(model, bytes) else str(model))
    if not isinstance(model, bytes):
        data_dir, model = Path(model).parent, read_model(model)
    chain = choose_providers(device, providers)
    if hasattr(ort, "preload_dlls") and _provider_name(chain[0]) in (CUDA, TENSORRT):
        ort.preload_dlls()
    options = _session_options(threads, data_dir)
    try:
        session = ort.InferenceSession(
            model, options, providers=list(_with_options(chain, model, profile))
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise InputError(
            f"model {label} cannot be opened: {_first_line(error)} (truncated, not ONNX, or too "
            "new for this onnxruntime: download or export it again)"
        ) from error
    _check_provider(session, _provider_name(chain[0]), device, providers is not None, label)
    if not quietly:
        logger.info("%s runs on %s", label, session.get_providers()[0])
    return session


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _check_provider(
    session: ort.InferenceSession, wanted: str, device: str, by_name: bool, label: str
) -> None:
    real = session.get_providers()[0]
    if real != wanted:
        reason = f"ONNX Runtime could not start it and fell back to {real}"
        wish = "providers" if by_name else f"--device {device}"
        if by_name or device != "auto":
            raise _no_provider(wish, wanted, reason)
        logger.warning("%s: %s", label, _no_provider(wish, wanted, reason))

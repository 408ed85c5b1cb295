"""ONNX Runtime sessions: on which hardware they run, and what to do when it is absent."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.runtime.onnx_graph import read_model, short_hash

logger = logging.getLogger(__name__)

TENSORRT = "TensorrtExecutionProvider"
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
SHORT_NAMES = {"tensorrt": TENSORRT, "cuda": CUDA, "cpu": CPU}
CHAINS = {"cpu": (CPU,), "cuda": (CUDA, CPU), "tensorrt": (TENSORRT, CUDA, CPU)}
REMEDIES = {
    CUDA: "install the GPU build (pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,"
    "cudnn]') on a machine with an NVIDIA driver, or use device cpu",
    TENSORRT: "install it (pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]' "
    "tensorrt) on a machine with an NVIDIA driver, or use device cuda or cpu",
}
ENGINE_FOLDER = "tensorrt_engines"

Provider = str | tuple[str, dict[str, Any]]
"""An execution provider by ONNX Runtime's name or a short one, alone or with its options."""


@dataclass(frozen=True)
class SessionOptions:
    """Where and how a model's sessions run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        providers: execution providers in order of preference, used instead of ``device``.
        threads: CPU threads of one operation; None for ONNX Runtime's choice.
        max_rois: ROIs that pass through a head at once; None for the head's usual number.
    """

    device: str = "auto"
    providers: Sequence[Provider] | None = None
    threads: int | None = None
    max_rois: int | None = None


ANYWHERE = SessionOptions()
ON_CPU = SessionOptions("cpu")


def user_cache_dir() -> Path:
    """The folder for files that can be made again: the built-in extractor, TensorRT engines."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "human_edge_detection"


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
    return InputError(f"{wish} asks for {provider}, but {reason}: {_remedy(provider)}")


def _remedy(provider: str) -> str:
    available = ", ".join(ort.get_available_providers())
    return REMEDIES.get(provider, f"available here: {available}")


def choose_providers(
    device: str = "auto", providers: Sequence[Provider] | None = None
) -> list[Provider]:
    """The execution providers to ask for, best first, by ONNX Runtime's names.

    Args:
        device: ``cpu``, ``cuda``, ``tensorrt``, or ``auto`` for the best that works here.
        providers: providers in order of preference, used instead of ``device``. Those that
            cannot work here are left out with a warning.

    Raises:
        InputError: if the device, or every one of the providers, cannot work here; the message
            names what to install.
    """
    if providers is not None:
        return _present([_by_full_name(provider) for provider in providers])
    if device == "auto":
        return [name for name in CHAINS["tensorrt"] if _missing(name) is None]
    if device not in CHAINS:
        raise InputError(f"device {device} is unknown: use auto, {', '.join(CHAINS)}")
    first, *others = CHAINS[device]
    if reason := _missing(first):
        raise _no_provider(f"device {device}", first, reason)
    return [first, *(name for name in others if _missing(name) is None)]


def _present(wanted: list[Provider]) -> list[Provider]:
    """The providers that work here, in the order given; at least one."""
    if not wanted:
        raise InputError("providers is empty: name at least CPUExecutionProvider")
    absent = {name: why for name in map(_provider_name, wanted) if (why := _missing(name))}
    present = [provider for provider in wanted if _provider_name(provider) not in absent]
    if not present:
        first, reason = next(iter(absent.items()))
        raise _no_provider("providers", first, reason)
    if absent:
        reasons = "; ".join(f"{name}, because {reason}" for name, reason in absent.items())
        used = ", ".join(map(_provider_name, present))
        _warn_once(f"providers: left out {reasons}. Running on {used}")
    return present


def _by_full_name(provider: Provider) -> Provider:
    if isinstance(provider, str):
        return SHORT_NAMES.get(provider.lower(), provider)
    name, options = provider
    return SHORT_NAMES.get(name.lower(), name), options


def _provider_name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


@functools.cache
def _warn_once(text: str) -> None:
    """Log a warning the first time that it applies; a model opens several sessions."""
    logger.warning(text)


def tensorrt_options(folder: Path) -> dict[str, str]:
    """Options of the TensorRT provider: FP16, with engines and timings cached in ``folder``."""
    return {
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def engine_folder(model_hash: str, beside: Path | None) -> Path:
    """A writable folder for a model's TensorRT engines, made if missing.

    Args:
        model_hash: hash of the model, so that no other model uses its engines.
        beside: folder of the ONNX file, where the engines go if it can be written; else, and for
            a model without a file, they go to the user's cache folder.
    """
    own = user_cache_dir() / "tensorrt" / model_hash
    if beside is not None:
        folder = beside.resolve() / ENGINE_FOLDER / model_hash
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
            reason = "it is read-only"
        except OSError as error:
            reason = error.strerror or str(error)
        _warn_once(f"{folder} cannot be written ({reason}): TensorRT engines are cached in {own}")
    own.mkdir(parents=True, exist_ok=True)
    return own


def _with_options(
    providers: Sequence[Provider], model: bytes, label: str, data_dir: Path | None
) -> Iterator[Provider]:
    for provider in providers:
        if provider == TENSORRT:
            folder = engine_folder(short_hash(model), data_dir)
            logger.info("%s: TensorRT engines are cached in %s", label, folder)
            yield TENSORRT, tensorrt_options(folder)
        else:
            yield provider


def _session_options(threads: int | None, data_dir: Path | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait busily after a run take the cores from the next network and from pasting.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads:
        options.intra_op_num_threads = threads
    if data_dir is not None:  # a model given as bytes carries no path to its external weights
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(data_dir.resolve()))
    return options


def open_session(
    model: Path | bytes,
    options: SessionOptions = ANYWHERE,
    *,
    label: str = "",
    data_dir: Path | None = None,
    quietly: bool = False,
) -> ort.InferenceSession:
    """An ONNX Runtime session on the hardware asked for; no silent fallback to another.

    Args:
        model: a file, or a serialized model.
        options: where and how to run.
        label: name of a model given as bytes in messages.
        data_dir: folder of the ONNX file of a model given as bytes, where its external weights
            lie and TensorRT engines are cached.
        quietly: do not log where the session runs, for a file that is open already.

    Raises:
        InputError: if the file is missing, empty, truncated or no ONNX model, or the hardware
            that was asked for is absent.
    """
    label = label or ("the given model" if isinstance(model, bytes) else str(model))
    if not isinstance(model, bytes):
        data_dir, model = Path(model).parent, read_model(model)
    chain = choose_providers(options.device, options.providers)
    if hasattr(ort, "preload_dlls") and _provider_name(chain[0]) in (CUDA, TENSORRT):
        ort.preload_dlls()
    try:
        session = ort.InferenceSession(
            model,
            _session_options(options.threads, data_dir),
            providers=list(_with_options(chain, model, label, data_dir)),
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = one_line(str(error).strip(), 300) or type(error).__name__
        raise InputError(
            f"model {label} cannot be opened: {reason} (truncated, not ONNX, or too "
            "new for this onnxruntime: download or export it again)"
        ) from error
    _check_provider(session, chain, options, label)
    if not quietly:
        logger.info("%s runs on %s", label, session.get_providers()[0])
    return session


def _check_provider(
    session: ort.InferenceSession, chain: list[Provider], options: SessionOptions, label: str
) -> None:
    """Refuse a fallback that the options do not allow, and log one that they do."""
    real, wanted = session.get_providers()[0], _provider_name(chain[0])
    if real == wanted:
        return
    by_name = options.providers is not None
    wish = "providers" if by_name else f"device {options.device}"
    problem = _no_provider(wish, wanted, f"ONNX Runtime could not start it and fell back to {real}")
    allowed = real in map(_provider_name, chain) if by_name else options.device == "auto"
    if not allowed:
        raise problem
    logger.warning("%s: %s", label, problem)

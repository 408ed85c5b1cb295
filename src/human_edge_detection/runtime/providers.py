"""Execution providers: which of them work here, and what to install for those that do not."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import onnxruntime as ort

from human_edge_detection.core.errors import InputError

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

Photo = TypeVar("Photo")
Provider = str | tuple[str, dict[str, Any]]
"""An execution provider by ONNX Runtime's name or a short one, alone or with its options."""


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


def no_provider(wish: str, provider: str, reason: str) -> InputError:
    """The error that states what was asked for, why it cannot work here, and what to install."""
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
        raise no_provider(f"device {device}", first, reason)
    return [first, *(name for name in others if _missing(name) is None)]


def _present(wanted: list[Provider]) -> list[Provider]:
    """The providers that work here, in the order given; at least one."""
    if not wanted:
        raise InputError("providers is empty: name at least CPUExecutionProvider")
    absent = {name: why for name in map(provider_name, wanted) if (why := _missing(name))}
    present = [provider for provider in wanted if provider_name(provider) not in absent]
    if not present:
        first, reason = next(iter(absent.items()))
        raise no_provider("providers", first, reason)
    if absent:
        reasons = "; ".join(f"{name}, because {reason}" for name, reason in absent.items())
        used = ", ".join(map(provider_name, present))
        warn_once(f"providers: left out {reasons}. Running on {used}")
    return present


def _by_full_name(provider: Provider) -> Provider:
    if isinstance(provider, str):
        return SHORT_NAMES.get(provider.lower(), provider)
    name, options = provider
    return SHORT_NAMES.get(name.lower(), name), options


def provider_name(provider: Provider) -> str:
    """The provider's name without its options."""
    return provider if isinstance(provider, str) else provider[0]


@functools.cache
def warn_once(text: str) -> None:
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
        warn_once(f"{folder} cannot be written ({reason}): TensorRT engines are cached in {own}")
    own.mkdir(parents=True, exist_ok=True)
    return own


def in_passes(
    photos: Sequence[Photo], provider: str, fixed_batch: int | None
) -> Iterator[Sequence[Photo]]:
    """The photos in the groups in which they pass through a network.

    On a CPU each passes alone, as is faster, and as 8-bit heads need to round the same way; so it
    does where the network's file fixes the number of photos.
    """
    step = 1 if provider == CPU or fixed_batch is not None else max(len(photos), 1)
    for at in range(0, len(photos), step):
        yield photos[at : at + step]


def pass_size(count: int, provider: str) -> int:
    """The number of photos that a pass of ``count`` is filled up to.

    TensorRT builds an engine for every new number, hence only powers of two.
    """
    return 1 << (count - 1).bit_length() if provider == TENSORRT else count

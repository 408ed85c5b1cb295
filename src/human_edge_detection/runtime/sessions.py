"""ONNX Runtime sessions: on which hardware they run, and what to do when it is absent."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from human_edge_detection.core.errors import InputError, one_line, shown
from human_edge_detection.runtime.onnx_graph import read_model, short_hash
from human_edge_detection.runtime.providers import (
    CUDA,
    TENSORRT,
    Provider,
    choose_providers,
    engine_folder,
    no_provider,
    provider_name,
    tensorrt_options,
)

logger = logging.getLogger(__name__)

MAX_INPUT_PIXELS = 1 << 26
"""Pixels of all images that a network takes at once: 0.8 GB of floats."""

EMPTY_FAILS = tuple(map(int, ort.__version__.split(".")[:2])) < (1, 32)
"""Whether this ONNX Runtime's blocked layout of convolutions fails on inputs without rows."""

IMAGE_TYPES: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16,
}  # fmt: skip
"""ONNX Runtime's name of an input's type → its NumPy type."""


@dataclass(frozen=True)
class SessionOptions:
    """Where and how a model's sessions run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
        providers: execution providers in order of preference, used instead of ``device``.
        threads: CPU threads of one operation; None for ONNX Runtime's choice.
        max_rois: ROIs that pass through a head at once; None for the head's usual number.
        image_size: longest side of a photo in the network whose maps the heads read, if it takes
            images of any size; None for the size that the heads were trained at.
    """

    device: str = "auto"
    providers: Sequence[Provider] | None = None
    threads: int | None = None
    max_rois: int | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that are none.

        Raises:
            InputError: naming the parameter and the value.
        """
        if not isinstance(self.device, str):
            raise InputError(f"device must be a name, but got {shown(self.device)}")
        if self.providers is not None and not (
            isinstance(self.providers, list | tuple)
            and all(isinstance(item, str) or _is_pair(item) for item in self.providers)
        ):
            raise InputError(
                f"providers must be a list of names, or of names with options, but got "
                f"{shown(self.providers)}"
            )
        for name in ("threads", "max_rois", "image_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name} must be an integer of at least 1, but got {shown(value)}")


ANYWHERE = SessionOptions()
ON_CPU = SessionOptions("cpu")


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


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


@functools.cache
def log_once(text: str) -> None:
    """Log a line the first time; several models may open the same network one after the other."""
    logger.info(text)


def _session_options(model: bytes, threads: int | None, data_dir: Path | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait busily after a run take the cores from the next network and from pasting.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Plans are kept for each shape that ever came, for no time saved; photos have many shapes.
    options.enable_mem_pattern = False
    if EMPTY_FAILS and b"rois" in model:  # a head, by its input's name; that layout is left out
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
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
        quietly: do not log where the session runs: the file is open already, or its user does.

    Raises:
        InputError: if the file is missing, empty, truncated or no ONNX model, or the hardware
            that was asked for is absent.
    """
    label = label or ("the given model" if isinstance(model, bytes) else str(model))
    if not isinstance(model, bytes):
        data_dir, model = Path(model).parent, read_model(model)
    chain = choose_providers(options.device, options.providers)
    if hasattr(ort, "preload_dlls") and provider_name(chain[0]) in (CUDA, TENSORRT):
        ort.preload_dlls()
    try:
        session = _start(model, options, chain, label, data_dir)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = _reason(error)
        raise InputError(
            f"model {label} cannot be opened: {reason} (truncated, not ONNX, or too "
            "new for this onnxruntime: download or export it again)"
        ) from error
    _check_text(session, label)
    _check_provider(session, chain, options, label)
    if not quietly:
        logger.info("%s runs on %s", label, session.get_providers()[0])
    return session


def _start(
    model: bytes, options: SessionOptions, chain: list[Provider], label: str, data_dir: Path | None
) -> ort.InferenceSession:
    """A session on the first providers of the chain with which it starts.

    ONNX Runtime would fall back by itself, but prints blocks of text to standard output then.
    """
    settings = _session_options(model, options.threads, data_dir)
    providers = list(_with_options(chain, model, label, data_dir))
    failure: Exception | None = None
    for first in range(len(providers)):
        try:
            return ort.InferenceSession(
                model, settings, providers=providers[first:], enable_fallback=0
            )
        except Exception as error:
            failure = failure or error
    assert failure is not None
    raise failure


def run_session(
    session: ort.InferenceSession, outputs: Sequence[str] | None, feeds: Mapping[str, Any],
    label: str,
) -> list[Any]:  # fmt: skip
    """The named outputs, or all, of one run on each input's array by its name.

    Raises:
        InputError: the network does not run on these inputs.
    """
    try:
        return list(session.run(outputs and list(outputs), dict(feeds)))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        shapes = ", ".join(f"{name} {list(item.shape)}" for name, item in feeds.items())
        raise InputError(f"model {label} does not run on {shapes}: {_reason(error)}") from error


def _check_text(session: ort.InferenceSession, label: str) -> None:
    """Refuse metadata, names and named sides that are not text, before anything reads them."""
    try:
        for item in (*session.get_inputs(), *session.get_outputs()):
            _ = item.name, item.shape
        _ = session.get_modelmeta().custom_metadata_map
    except ValueError as error:  # of pybind, which decodes them
        raise InputError(f"model {label} has text that is not UTF-8: {error}") from error


def _reason(error: Exception) -> str:
    return one_line(str(error).strip(), 300) or type(error).__name__


def _check_provider(
    session: ort.InferenceSession, chain: list[Provider], options: SessionOptions, label: str
) -> None:
    """Refuse a fallback that the options do not allow, and log one that they do."""
    real, wanted = session.get_providers()[0], provider_name(chain[0])
    if real == wanted:
        return
    by_name = options.providers is not None
    wish = "providers" if by_name else f"device {options.device}"
    problem = no_provider(wish, wanted, f"ONNX Runtime could not start it and fell back to {real}")
    allowed = real in map(provider_name, chain) if by_name else options.device == "auto"
    if not allowed:
        raise problem
    logger.warning("%s: %s", label, problem)


@dataclass(frozen=True)
class ImageInput:
    """The only input of a network that reads images [B, 3, H, W].

    Attributes:
        name: the input's name.
        dtype: NumPy type of the images, float32 or float16.
        batch: number of images where the graph fixes it, else None.
        size_hw: height and width, each None where the graph leaves it open.
    """

    name: str
    dtype: type[np.floating[Any]]
    batch: int | None
    size_hw: tuple[int | None, int | None]

    @classmethod
    def of(cls, inputs: Sequence[Any], path: Path) -> ImageInput:
        """The only one of an open session's inputs.

        Raises:
            InputError: if the network has any other signature, or its images are huge.
        """
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            seen = ", ".join(f"{item.name} {item.shape}" for item in inputs)
            raise InputError(
                f"model {path} must take one image [B, 3, H, W], but its inputs are {seen:.300}: "
                "name a feature extractor or a detector"
            )
        if inputs[0].type not in IMAGE_TYPES:
            raise InputError(f"model {path} must take float images, but takes {inputs[0].type}")
        batch, _, height, width = (side if isinstance(side, int) else None for side in shape)
        check_size((height or 1, width or 1), path, batch or 1)
        return cls(inputs[0].name, IMAGE_TYPES[inputs[0].type], batch, (height, width))

    def sized(self, asked_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the images: the graph's where it fixes them, else ``asked_hw``."""
        return self.size_hw[0] or asked_hw[0], self.size_hw[1] or asked_hw[1]


def check_size(size_hw: tuple[int, int], path: Path, batch: int = 1) -> None:
    """Refuse images that no network of this field takes, before they are allocated.

    Raises:
        InputError: naming the file and the size.
    """
    height, width = size_hw
    if min(height, width, batch) < 1 or batch * height * width > MAX_INPUT_PIXELS:
        raise InputError(
            f"model {path} takes {batch} images of {height}x{width}: there must be at least one, "
            f"and at most {MAX_INPUT_PIXELS} pixels in all"
        )


def is_map(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is a feature map [B, C, h, w]."""
    return len(shape) == 4 and shape[0] > 0 and min(shape[2:]) > 1

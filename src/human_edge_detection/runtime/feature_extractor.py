"""A frozen ONNX network that turns images into feature maps."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from human_edge_detection.core.errors import InputError, one_line, shown
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.runtime.onnx_graph import (
    DEFAULT_SIZE_HW,
    ModelFile,
    select_outputs,
    short_hash,
    with_shape_outputs,
)
from human_edge_detection.runtime.providers import CUDA, TENSORRT, Provider
from human_edge_detection.runtime.sessions import (
    ON_CPU,
    ImageInput,
    SessionOptions,
    check_size,
    is_map,
    log_once,
    open_session,
    run_session,
)

DEFAULT_LAYERS = (
    "segmentation_model_34_Concat_output_0",
    "/model.34/Concat_output_0",
    "/model.14/Concat_output_0",
)
"""Tried in this order where no layer is named."""

PERSON_LAYERS = ("stride4", "stage8", "neck8", "neck16", "neck32")
"""The person extractor's maps, used where no layer is named."""

MAX_LISTED = 60
MAX_STRIDE = 128


class YOLOv9FeatureExtractor(AbstractContextManager["YOLOv9FeatureExtractor"]):
    """Feature maps of images, one per layer; the model file stays unchanged.

    A layer is a declared output of the ONNX file or any tensor inside it. Used in a ``with``
    statement, it is closed at the end.

    Attributes:
        layers: names of the tensors, in the order of the results.
        channels: channels of each map.
        strides: input pixels per map pixel of each map.
        input_size_hw: height and width that the images must have.
        sha: short hash of the model file.
        map_shapes: C, h, w of each map.
        dtype: NumPy type of the images and maps inside the network.
        fixed_batch: how many images the network takes at once; None for any number.
        provider: the execution provider that it runs on, by ONNX Runtime's name.
    """

    def __init__(
        self,
        onnx_path: Path | str,
        device: str = "auto",
        providers: Sequence[Provider] | None = None,
        layers: Sequence[str] | None = None,
        *,
        image_size_hw: tuple[int, int] | None = None,
        threads: int | None = None,
    ) -> None:
        """Open the model and run it once to learn its maps' shapes.

        Args:
            onnx_path: the network; one input [B, 3, H, W] RGB 0-1.
            device: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
            providers: execution providers in order of preference, used instead of ``device``:
                ONNX Runtime's names or ``tensorrt``, ``cuda``, ``cpu``, each alone or with its
                options. Those that cannot work here are left out with a warning.
            layers: tensors to return; None or empty for the first known name.
            image_size_hw: height and width of the images; None for the model's own, or 640x640.
            threads: CPU threads of one operation; None for ONNX Runtime's choice.

        Raises:
            InputError: if the file is no ONNX model, a layer is not in it or is no feature map,
                the size does not fit, or the hardware is absent.
        """
        model = ModelFile.read(Path(onnx_path))
        self.path = model.path
        self.sha = short_hash(model.data)
        self.layers = choose_layers(model, layers)
        self._session: ort.InferenceSession | None = open_session(
            select_outputs(model.data, self.layers),
            SessionOptions(device, providers, threads),
            label=str(model.path),
            data_dir=model.path.parent,
            quietly=True,
        )
        source = ImageInput.of(self._session.get_inputs(), model.path)
        self._input_name, self.dtype, self.fixed_batch = source.name, source.dtype, source.batch
        self.input_size_hw = source.sized(image_size_hw or DEFAULT_SIZE_HW)
        if image_size_hw and self.input_size_hw != tuple(image_size_hw):
            raise _size_error(model, image_size_hw, self.input_size_hw)
        check_size(self.input_size_hw, model.path, self.fixed_batch or 1)
        self.map_shapes = self._dry_run(model)
        self.channels: tuple[int, ...] = tuple(shape[0] for shape in self.map_shapes)
        height = self.input_size_hw[0]
        self.strides: tuple[float, ...] = tuple(height / shape[1] for shape in self.map_shapes)
        facts = map(describe_layer, self.layers, self.channels, self.strides)
        self.provider: str = self._session.get_providers()[0]
        log_once(f"{model.path} on {self.provider}: {', '.join(facts)}")

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        """The feature maps, one float32 [B, C, H / stride, W / stride] per layer.

        Args:
            images: float32 [B, 3, H, W] RGB 0-1, of the size ``input_size_hw``; B may be 0.

        Raises:
            ValueError: the images have another shape.
        """
        wanted = (3, *self.input_size_hw)
        if images.ndim != 4 or images.shape[1:] != wanted:
            raise ValueError(
                f"images must have shape [B, 3, {wanted[1]}, {wanted[2]}], "
                f"but got {list(images.shape)}"
            )
        if len(images) == 0:
            return [np.zeros((0, *shape), np.float32) for shape in self.map_shapes]
        step = self.fixed_batch or len(images)
        parts = [self._run(images[at : at + step]) for at in range(0, len(images), step)]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(maps) for maps in zip(*parts, strict=True)]

    def _run(self, images: FloatArray) -> list[FloatArray]:
        if self._session is None:
            raise RuntimeError("the feature extractor is closed")
        count = len(images)
        batch = np.ascontiguousarray(images, self.dtype)
        if self.fixed_batch and count < self.fixed_batch:
            rest = np.zeros((self.fixed_batch - count, *batch.shape[1:]), self.dtype)
            batch = np.concatenate([batch, rest])
        maps = self._session.run(list(self.layers), {self._input_name: batch})
        return [np.asarray(item[:count], np.float32) for item in maps]

    @property
    def device_type(self) -> str:
        """Where the network runs, by torch's name: ``cuda`` or ``cpu``."""
        return "cuda" if self.provider in (CUDA, TENSORRT) else "cpu"

    def write_maps(self, images: int, maps: Sequence[int], count: int) -> None:
        """Run on the caller's memory, on the network's own device, without copying.

        Args:
            images: address of ``count`` images [count, 3, H, W] RGB 0-1 of type :attr:`dtype`.
            maps: address of each layer's [count, C, H / stride, W / stride] of the same type,
                which are overwritten.
            count: number of images; the network's own where it takes a fixed one.

        Raises:
            RuntimeError: the extractor is closed.
        """
        if self._session is None:
            raise RuntimeError("the feature extractor is closed")
        binding, place = self._session.io_binding(), (self.device_type, 0, self.dtype)
        binding.bind_input(self._input_name, *place, [count, 3, *self.input_size_hw], images)
        for name, shape, address in zip(self.layers, self.map_shapes, maps, strict=True):
            binding.bind_output(name, *place, [count, *shape], address)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    def _dry_run(self, model: ModelFile) -> tuple[tuple[int, ...], ...]:
        """Shapes [C, h, w] of the maps."""
        try:
            maps = self._run(np.zeros((1, 3, *self.input_size_hw), np.float32))
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            size = f"{self.input_size_hw[0]}x{self.input_size_hw[1]}"
            raise InputError(
                f"model {model.path} does not run on an image of {size}: "
                f"{one_line(str(error), 300)}"
            ) from error
        for name, item in zip(self.layers, maps, strict=True):
            if not is_map(item.shape):
                problem = f"gives '{name}' as {list(item.shape)}, no feature map [B, C, h, w]"
                raise layer_error(model, problem, [name])
        return tuple(item.shape[1:] for item in maps)

    def close(self) -> None:
        """Free the session; the extractor cannot be called any more."""
        self._session = None

    def __exit__(self, *error: object) -> None:
        self.close()


def _size_error(model: ModelFile, asked_hw: tuple[int, int], own_hw: tuple[int, int]) -> InputError:
    height, width = own_hw
    return InputError(
        f"image_size {asked_hw[0]} {asked_hw[1]} does not fit {model.path}, whose input is fixed "
        f"to {height}x{width}: use image_size {height} {width}"
    )


def choose_layers(model: ModelFile, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The layers asked for, checked; or the first usual ones that the model has.

    Raises:
        InputError: if the model has no such tensor; the message lists similar ones.
    """
    known = set(model.tensors)
    if not wanted:
        for names in (*((name,) for name in DEFAULT_LAYERS), PERSON_LAYERS):
            if known.issuperset(names):
                return names
        problem = f"has none of the usual layers ({', '.join(DEFAULT_LAYERS)})"
        raise layer_error(model, problem, DEFAULT_LAYERS)
    if twice := [name for name in wanted if list(wanted).count(name) > 1]:
        raise InputError(f"layers names {twice[0]} more than once")
    if missing := [name for name in wanted if name not in known]:
        raise layer_error(model, f"has no tensor {shown(missing[0])}", missing)
    return tuple(wanted)


def layer_error(model: ModelFile, problem: str, asked: Sequence[str]) -> InputError:
    """The error that states the problem and lists the feature maps to choose from."""
    found = candidates(model, asked)
    listing = "\n  ".join(found[:MAX_LISTED]) or "none"
    more = f"\n  … and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return InputError(f"model {model.path} {problem}; layers can be:\n  {listing}{more}")


def candidates(model: ModelFile, asked: Sequence[str]) -> list[str]:
    """One line per map worth naming: similar names first, then outputs and ends of blocks."""
    ends = [name for node in model.nodes if node.op_type == "Concat" for name in node.outputs]
    near = [name for text in asked for name in difflib.get_close_matches(text, model.tensors, n=5)]
    names = list(dict.fromkeys([*near, *model.declared, *ends]))
    size_hw, shapes = _tensor_shapes(model, names)
    if not any(map(is_map, shapes.values())):
        size_hw, shapes = _tensor_shapes(model, model.tensors)
    return [
        describe_layer(name, shape[1], size_hw[0] / shape[2])
        for name, shape in shapes.items()
        if is_map(shape) and shape[2] * MAX_STRIDE >= size_hw[0]
    ]


def describe_layer(name: str, channels: int, stride: float) -> str:
    """A layer's name, channels and stride as text."""
    return f"{name} ({channels} channels, stride {stride:g})"


def _tensor_shapes(
    model: ModelFile, names: Sequence[str]
) -> tuple[tuple[int, int], dict[str, tuple[int, ...]]]:
    """The input's height and width in a dry run, and the named tensors' shapes."""
    probe = with_shape_outputs(model.data, names)
    session = open_session(
        probe, ON_CPU, label=str(model.path), data_dir=model.path.parent, quietly=True
    )
    source = ImageInput.of(session.get_inputs(), model.path)
    size_hw = source.sized(DEFAULT_SIZE_HW)
    image = np.zeros((source.batch or 1, 3, *size_hw), source.dtype)
    found = run_session(session, None, {source.name: image}, str(model.path))
    return size_hw, {name: tuple(map(int, shape)) for name, shape in zip(names, found, strict=True)}

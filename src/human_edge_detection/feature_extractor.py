"""A frozen ONNX network that turns images into feature maps."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import onnxruntime as ort

from human_edge_detection.errors import InputError
from human_edge_detection.onnx_graph import (
    MalformedModel,
    Node,
    read_nodes,
    read_outputs,
    select_outputs,
    with_shape_outputs,
)
from human_edge_detection.runtime import Provider, open_session, read_model, short_hash
from human_edge_detection.structures import FloatArray

logger = logging.getLogger(__name__)

DEFAULT_LAYERS = (
    "segmentation_model_34_Concat_output_0",
    "/model.34/Concat_output_0",
    "/model.14/Concat_output_0",
)
"""Tried in this order when no layer is named."""

BUILTIN_LAYERS = ("stride4", "stride8", "stride16")
"""Outputs of the built-in extractor that are used when no layer is named."""

DEFAULT_SIZE_HW = (640, 640)
MAX_LISTED = 60


class YOLOv9FeatureExtractor:
    """Images in, one feature map per layer out; the model file stays untouched.

    A layer is a declared output of the ONNX file or any tensor inside it.

    Attributes:
        layers: names of the tensors, in the order of the results.
        channels: channels of each map.
        strides: input pixels per map pixel of each map.
        input_size_hw: height and width that the images must have.
        sha: short hash of the model file.
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
            providers: ONNX Runtime's provider names, instead of ``device``.
            layers: tensors to return; None or empty for the first known name.
            image_size_hw: the images' size; None for the model's own, or 640x640.
            threads: CPU threads of one operation; None for ONNX Runtime's choice.

        Raises:
            InputError: if the file is no ONNX model, a layer is not in it or is no feature map,
                the size does not fit, or the hardware is not there.
        """
        path = Path(onnx_path)
        model = read_model(path)
        try:
            nodes, declared = read_nodes(model), read_outputs(model)
        except MalformedModel as error:
            raise InputError(
                f"model {path} is not a whole ONNX file ({error}): download or export it again"
            ) from error
        self.sha = short_hash(model)
        self.layers = _choose_layers(layers, nodes, declared, model, path)
        selected = select_outputs(model, self.layers)
        self._session: ort.InferenceSession | None = open_session(
            selected, device, providers, threads, label=str(path), data_dir=path.parent
        )
        self._input = _image_input(self._session, path)
        self._dtype = np.float16 if "float16" in self._input.type else np.float32
        batch = self._input.shape[0]
        self._fixed_batch: int | None = batch if isinstance(batch, int) else None
        self.input_size_hw = _input_size(self._input.shape, image_size_hw, path)
        maps = self._dry_run(path)
        _check_maps(self.layers, maps, nodes, declared, model, path)
        self._map_shapes = tuple(item.shape[1:] for item in maps)
        self.channels: tuple[int, ...] = tuple(item.shape[1] for item in maps)
        self.strides: tuple[float, ...] = tuple(self.input_size_hw[0] / m.shape[2] for m in maps)
        logger.info(
            "%s: %s", path, ", ".join(map(_describe, self.layers, self.channels, self.strides))
        )

    def __call__(self, images: FloatArray) -> list[FloatArray]:
        """The feature maps, one float32 [B, C, H / stride, W / stride] per layer.

        Args:
            images: float32 [B, 3, H, W] RGB 0-1, of the size ``input_size_hw``; B may be 0.
        """
        wanted = (3, *self.input_size_hw)
        if images.ndim != 4 or images.shape[1:] != wanted:
            raise ValueError(
                f"images must have shape [B, 3, {wanted[1]}, {wanted[2]}], "
                f"but got {list(images.shape)}"
            )
        if len(images) == 0:
            return [np.zeros((0, *shape), np.float32) for shape in self._map_shapes]
        step = self._fixed_batch or len(images)
        parts = [self._run(images[at : at + step]) for at in range(0, len(images), step)]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(maps) for maps in zip(*parts, strict=True)]

    def _run(self, images: FloatArray) -> list[FloatArray]:
        if self._session is None:
            raise RuntimeError("the feature extractor is closed")
        count = len(images)
        batch = np.ascontiguousarray(images, self._dtype)
        if self._fixed_batch and count < self._fixed_batch:
            rest = np.zeros((self._fixed_batch - count, *batch.shape[1:]), self._dtype)
            batch = np.concatenate([batch, rest])
        maps = self._session.run(list(self.layers), {self._input.name: batch})
        return [np.asarray(item[:count], np.float32) for item in maps]

    def _dry_run(self, path: Path) -> list[FloatArray]:
        try:
            return self._run(np.zeros((1, 3, *self.input_size_hw), np.float32))
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            size = _size_text(self.input_size_hw)
            raise InputError(f"model {path} does not run on an image of {size}: {error}") from error

    def close(self) -> None:
        """Free the session; the extractor cannot be called any more."""
        self._session = None

    def __enter__(self) -> YOLOv9FeatureExtractor:
        """The extractor itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _size_text(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[0]}x{size_hw[1]} (height x width)"


def _describe(name: str, channels: int, stride: float) -> str:
    return f"{name} ({channels} channels, stride {stride:g})"


def _choose_layers(
    wanted: Sequence[str] | None,
    nodes: list[Node],
    declared: tuple[str, ...],
    model: bytes,
    path: Path,
) -> tuple[str, ...]:
    known = {name for node in nodes for name in node.outputs}
    if not wanted:
        for names in (*((name,) for name in DEFAULT_LAYERS), BUILTIN_LAYERS):
            if known.issuperset(names):
                return names
        problem = f"has none of the usual layers ({', '.join(DEFAULT_LAYERS)})"
        raise _layer_error(path, problem, DEFAULT_LAYERS, nodes, declared, model)
    if twice := [name for name in wanted if list(wanted).count(name) > 1]:
        raise InputError(f"--layers names {twice[0]} more than once")
    if missing := [name for name in wanted if name not in known]:
        raise _layer_error(path, f"has no tensor '{missing[0]}'", missing, nodes, declared, model)
    return tuple(wanted)


def _layer_error(
    path: Path,
    problem: str,
    asked: Iterable[str],
    nodes: list[Node],
    declared: tuple[str, ...],
    model: bytes,
) -> InputError:
    found = _candidates(asked, nodes, declared, model)
    listing = "\n  ".join(found[:MAX_LISTED]) or "none"
    more = f"\n  … and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return InputError(f"model {path} {problem}; --layers can be:\n  {listing}{more}")


def _candidates(
    asked: Iterable[str], nodes: list[Node], declared: tuple[str, ...], model: bytes
) -> list[str]:
    """Lines that name the maps worth using: outputs, ends of blocks, and similar names."""
    every = [name for node in nodes for name in node.outputs if name]
    ends = [name for node in nodes if node.op_type == "Concat" for name in node.outputs]
    near = [name for text in asked for name in difflib.get_close_matches(text, every, n=5)]
    names = list(dict.fromkeys([*near, *declared, *ends]))
    shapes = _shapes(model, names)
    if not any(_is_map(shape) for shape in shapes.values()):
        shapes = _shapes(model, every)
    height = shapes.pop("")[2]
    return [
        _describe(name, shape[1], height / shape[2])
        for name, shape in shapes.items()
        if _is_map(shape) and height / shape[2] < 129
    ]


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[0] > 0 and min(shape[2:]) > 1


def _shapes(model: bytes, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of the named tensors in a dry run; the input's own under the name ''."""
    session = open_session(with_shape_outputs(model, names), "cpu")
    source = _image_input(session, Path("model"))
    size = _input_size(source.shape, None, Path("model"))
    batch = source.shape[0] if isinstance(source.shape[0], int) else 1
    dtype = np.float16 if "float16" in source.type else np.float32
    image = np.zeros((batch, 3, *size), dtype)
    found = session.run(None, {source.name: image})
    shapes = {name: tuple(map(int, item)) for name, item in zip(names, found, strict=True)}
    return {"": image.shape, **shapes}


def _image_input(session: ort.InferenceSession, path: Path) -> ort.NodeArg:
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        seen = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise InputError(
            f"model {path} must take one image [B, 3, H, W], but its inputs are {seen}: "
            "name a feature extractor"
        )
    return inputs[0]


def _input_size(
    shape: list[int | str | None], asked: tuple[int, int] | None, path: Path
) -> tuple[int, int]:
    size = []
    for axis, (fixed, default) in enumerate(zip(shape[2:], DEFAULT_SIZE_HW, strict=True)):
        wish = asked[axis] if asked else None
        if isinstance(fixed, int) and wish not in (None, fixed):
            raise InputError(
                f"--image_size {asked[0]} {asked[1]} does not fit {path}, whose input is fixed "  # type: ignore[index]
                f"to {shape[2]}x{shape[3]}: use --image_size {shape[2]} {shape[3]}"
            )
        size.append(fixed if isinstance(fixed, int) else wish or default)
    return size[0], size[1]


def _check_maps(
    layers: tuple[str, ...],
    maps: list[FloatArray],
    nodes: list[Node],
    declared: tuple[str, ...],
    model: bytes,
    path: Path,
) -> None:
    for name, item in zip(layers, maps, strict=True):
        if not _is_map(item.shape):
            problem = f"gives '{name}' as {list(item.shape)}, which is no feature map [B, C, h, w]"
            raise _layer_error(path, problem, [name], nodes, declared, model)

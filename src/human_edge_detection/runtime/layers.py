"""Which tensors of an ONNX network are feature maps, and which of them to use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort

from human_edge_detection.core.errors import InputError
from human_edge_detection.runtime.onnx_graph import (
    MalformedModel,
    Node,
    read_nodes,
    read_outputs,
    with_shape_outputs,
)
from human_edge_detection.runtime.sessions import open_session, read_model

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
MAX_STRIDE = 128


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file as read: its bytes, and the operations and outputs in them."""

    path: Path
    data: bytes
    nodes: tuple[Node, ...]
    declared: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """The file at ``path``; InputError if it is missing, cut off or not ONNX."""
        data = read_model(path)
        try:
            return cls(path, data, tuple(read_nodes(data)), read_outputs(data))
        except MalformedModel as error:
            raise InputError(
                f"model {path} is not a whole ONNX file ({error}): download or export it again"
            ) from error

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of everything that an operation makes, in the order of the file."""
        return tuple(name for node in self.nodes for name in node.outputs if name)


def choose_layers(model: ModelFile, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The layers asked for, checked; or the first usual ones that the model has.

    Raises:
        InputError: if the model has no such tensor; lists those that could be meant.
    """
    known = set(model.tensors)
    if not wanted:
        for names in (*((name,) for name in DEFAULT_LAYERS), BUILTIN_LAYERS):
            if known.issuperset(names):
                return names
        problem = f"has none of the usual layers ({', '.join(DEFAULT_LAYERS)})"
        raise layer_error(model, problem, DEFAULT_LAYERS)
    if twice := [name for name in wanted if list(wanted).count(name) > 1]:
        raise InputError(f"--layers names {twice[0]} more than once")
    if missing := [name for name in wanted if name not in known]:
        raise layer_error(model, f"has no tensor '{missing[0]}'", missing)
    return tuple(wanted)


def layer_error(model: ModelFile, problem: str, asked: Sequence[str]) -> InputError:
    """The error that states the problem and lists the feature maps that could be meant."""
    found = candidates(model, asked)
    listing = "\n  ".join(found[:MAX_LISTED]) or "none"
    more = f"\n  … and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return InputError(f"model {model.path} {problem}; --layers can be:\n  {listing}{more}")


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
    """A layer and its facts, for people."""
    return f"{name} ({channels} channels, stride {stride:g})"


def is_map(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is a feature map [B, C, h, w]."""
    return len(shape) == 4 and shape[0] > 0 and min(shape[2:]) > 1


def _tensor_shapes(
    model: ModelFile, names: Sequence[str]
) -> tuple[tuple[int, int], dict[str, tuple[int, ...]]]:
    """The input's height and width in a dry run, and the named tensors' shapes."""
    probe = with_shape_outputs(model.data, names)
    session = open_session(probe, "cpu", label=str(model.path), data_dir=model.path.parent)
    source = image_input(session, model.path)
    size_hw = input_size(source.shape, None, model.path)
    batch = source.shape[0] if isinstance(source.shape[0], int) else 1
    image = np.zeros((batch, 3, *size_hw), np.float16 if "float16" in source.type else np.float32)
    found = session.run(None, {source.name: image})
    return size_hw, {name: tuple(map(int, shape)) for name, shape in zip(names, found, strict=True)}


def image_input(session: ort.InferenceSession, path: Path) -> ort.NodeArg:
    """The model's only input, [B, 3, H, W]; InputError for any other signature."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        seen = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise InputError(
            f"model {path} must take one image [B, 3, H, W], but its inputs are {seen}: "
            "name a feature extractor"
        )
    return inputs[0]


def input_size(
    shape: Sequence[int | str | None], asked_hw: tuple[int, int] | None, path: Path
) -> tuple[int, int]:
    """Height and width of the images: the model's own where fixed, else those asked for."""
    wish = asked_hw or DEFAULT_SIZE_HW
    height, width = (
        fixed if isinstance(fixed, int) else free
        for fixed, free in zip(shape[2:], wish, strict=True)
    )
    if asked_hw and (height, width) != tuple(asked_hw):
        raise InputError(
            f"--image_size {asked_hw[0]} {asked_hw[1]} does not fit {path}, whose input is fixed "
            f"to {shape[2]}x{shape[3]}: use --image_size {height} {width}"
        )
    return height, width

"""Which tensors of an ONNX network are feature maps, and which of them to use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.runtime.onnx_graph import (
    DEFAULT_SIZE_HW,
    ImageInput,
    ModelFile,
    with_shape_outputs,
)
from human_edge_detection.runtime.sessions import ON_CPU, open_session

DEFAULT_LAYERS = (
    "segmentation_model_34_Concat_output_0",
    "/model.34/Concat_output_0",
    "/model.14/Concat_output_0",
)
"""Tried in this order where no layer is named."""

BUILTIN_LAYERS = ("stride4", "stride8", "stride16")
"""Outputs of the built-in extractor, used where no layer is named."""

MAX_LISTED = 60
MAX_STRIDE = 128


def choose_layers(model: ModelFile, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The layers asked for, checked; or the first usual ones that the model has.

    Raises:
        InputError: if the model has no such tensor; the message lists similar ones.
    """
    known = set(model.tensors)
    if not wanted:
        for names in (*((name,) for name in DEFAULT_LAYERS), BUILTIN_LAYERS):
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


def is_map(shape: Sequence[int]) -> bool:
    """Whether a tensor of this shape is a feature map [B, C, h, w]."""
    return len(shape) == 4 and shape[0] > 0 and min(shape[2:]) > 1


def _tensor_shapes(
    model: ModelFile, names: Sequence[str]
) -> tuple[tuple[int, int], dict[str, tuple[int, ...]]]:
    """The input's height and width in a dry run, and the named tensors' shapes."""
    probe = with_shape_outputs(model.data, names)
    session = open_session(probe, ON_CPU, label=str(model.path), data_dir=model.path.parent)
    source = ImageInput.of(session.get_inputs(), model.path)
    size_hw = source.sized(DEFAULT_SIZE_HW)
    image = np.zeros((source.batch or 1, 3, *size_hw), source.dtype)
    found = session.run(None, {source.name: image})
    return size_hw, {name: tuple(map(int, shape)) for name, shape in zip(names, found, strict=True)}

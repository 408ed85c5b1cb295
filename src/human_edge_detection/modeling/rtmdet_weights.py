"""Reads the weights of a published RTMDet person network out of its ONNX file.

Most of the file's weights have no names that mean anything, so they are taken in the order in
which its convolutions stand, which is the one in which the modules here are made.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError


class ConvWeights(NamedTuple):
    """A convolution's weight [C', C / groups, k, k] and bias [C']."""

    weight: Tensor
    bias: Tensor


def read_convolutions(path: Path) -> list[ConvWeights]:
    """The weights of all convolutions of an ONNX file, in the order of its graph.

    Raises:
        InputError: if the file is missing, no ONNX model, or has a convolution without a bias.
    """
    if not path.is_file():
        raise InputError(f"network {path} does not exist: check the path")
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's decoder fails in many ways
        raise InputError(f"network {path} is not a whole ONNX file: download it again") from error
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in (node for node in graph.node if node.op_type == "Conv"):
        names = list(node.input[1:])
        if len(names) != 2 or any(name not in stored for name in names):
            raise InputError(
                f"network {path} is no RTMDet with its norms folded: its convolution "
                f"{node.name or node.output[0]} has no weight and bias of its own"
            )
        arrays = [np.array(numpy_helper.to_array(stored[name]), np.float32) for name in names]
        found.append(ConvWeights(*map(torch.from_numpy, arrays)))
    return found


@torch.no_grad()
def fill_convolutions(parts: list[nn.Module], weights: list[ConvWeights], path: Path) -> None:
    """Put the weights into the parts' convolutions, one after the other.

    Args:
        parts: modules in the order in which they run.
        weights: what :func:`read_convolutions` gives.
        path: where they come from, for the message.

    Raises:
        InputError: if they are not as many, or one has another shape.
    """
    own = [m for part in parts for m in part.modules() if isinstance(m, nn.Conv2d)]
    if len(own) != len(weights):
        raise InputError(
            f"network {path} is no RTMDet-nano for people: it has {len(weights)} convolutions "
            f"instead of {len(own)}"
        )
    for number, (conv, given) in enumerate(zip(own, weights, strict=True)):
        if conv.weight.shape != given.weight.shape or conv.bias is None:
            raise InputError(
                f"network {path} is no RTMDet-nano for people: its convolution {number} has the "
                f"shape {list(given.weight.shape)} instead of {list(conv.weight.shape)}"
            )
        conv.weight.copy_(given.weight)
        conv.bias.copy_(given.bias)

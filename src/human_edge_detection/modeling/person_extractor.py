"""The person model's extractor: RTMDet-nano's backbone, pyramid and detector, and a fine map.

One pass over an image gives the head's maps of four strides and a box with a score at every point
of three grids. The finest map is made here: the backbone's own at stride 4 has seen little of the
photo, so the pyramid's at stride 8 is added to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.cspnext import STAGE_CHANNELS, CspNext
from human_edge_detection.modeling.layers import conv_norm
from human_edge_detection.modeling.rtmdet import (
    PYRAMID_CHANNELS,
    Candidates,
    PathPyramid,
    RtmDetector,
    doubled,
)
from human_edge_detection.runtime.feature_extractor import PERSON_LAYERS

MEAN_RGB = (123.675, 116.28, 103.53)
DEVIATION_RGB = (58.395, 57.12, 57.375)
"""Of the values 0-255 that the published network was trained on."""

MULTIPLE = 32
"""What the images' height and width must be multiples of."""


class Smooth(nn.Module):
    """Each channel filtered by 3x3, then mixed by 1x1, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = conv_norm(width, width, 3, groups=width)
        self.mix = conv_norm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to the same shape."""
        return functional.relu(x + self.mix(functional.relu(self.spatial(x))))


class FineMap(nn.Module):
    """The map of stride 4 with the pyramid's finest one added."""

    def __init__(self) -> None:
        super().__init__()
        width = STAGE_CHANNELS[0]
        self.own = conv_norm(width, width)
        self.coarser = conv_norm(PYRAMID_CHANNELS[0], width)
        self.smooth = Smooth(width)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Float [B, 32, H / 4, W / 4] from [B, 32, H / 4, W / 4] and [B, 64, H / 8, W / 8]."""
        joined = functional.relu(self.own(fine) + doubled(self.coarser(coarse)))
        smoothed: Tensor = self.smooth(joined)
        return smoothed


class PersonExtractor(nn.Module):
    """An image in; the head's maps and, if there is a detector, people's boxes out.

    Frozen, it gives no candidates in training: there is nothing in them to learn from.

    Attributes:
        layers: names of the maps; they tell in a checkpoint that it holds this network.
        channels: channels of each map.
        strides: input pixels per cell of each map.
        pretrained: names of the parts that begin with weights trained elsewhere.
        detector: finds people, or None.
        is_frozen: whether the pretrained parts stay as they are.

    Args:
        with_detector: whether there is a detector.
    """

    layers = PERSON_LAYERS
    channels = (*STAGE_CHANNELS[:2], *PYRAMID_CHANNELS)
    strides = (4.0, 8.0, 8.0, 16.0, 32.0)
    pretrained = ("backbone", "neck", "detector")
    is_frozen = False
    mean: Tensor
    deviation: Tensor

    def __init__(self, with_detector: bool = True) -> None:
        super().__init__()
        self.backbone = CspNext()
        self.neck = PathPyramid()
        self.detector = RtmDetector() if with_detector else None
        self.fine = FineMap()
        for name, values in (("mean", MEAN_RGB), ("deviation", DEVIATION_RGB)):
            constant = torch.tensor(values).reshape(1, 3, 1, 1) / 255
            self.register_buffer(name, constant, persistent=False)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Candidates | None]:
        """The head's maps, in the order of ``layers``, and the candidates.

        Args:
            images: float [B, 3, H, W] RGB 0-1; H and W are multiples of 32.
        """
        fine, *coarse = self.backbone((images - self.mean) / self.deviation)
        pyramid = self.neck(coarse)
        is_asked = not (self.is_frozen and self.training)
        found = self.detector(pyramid) if self.detector is not None and is_asked else None
        return [self.fine(fine, pyramid[0]), coarse[0], *pyramid], found

    def freeze(self) -> None:
        """Leave the pretrained parts as they are from now on."""
        self.is_frozen = True
        for part in self.pretrained_parts():
            part.requires_grad_(False)

    def pretrained_parts(self) -> list[nn.Module]:
        """The parts that begin with weights trained elsewhere."""
        parts = (getattr(self, name) for name in self.pretrained)
        return [part for part in parts if part is not None]

    @torch.no_grad()
    def begin_with(self, path: Path) -> None:
        """Take the weights of the published ONNX file, which reads BGR, in place.

        Raises:
            InputError: if the file is missing or holds another network.
        """
        weights = read_convolutions(path)
        whole = RtmDetector() if self.detector is None else self.detector
        fill_convolutions([self.backbone, self.neck, whole], weights, path)
        first = next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        first.weight.copy_(first.weight.flip(1))


# Most of a published file's weights have no names that mean anything, so they are taken in the
# order of its convolutions, which is the one in which the modules here are made.


class ConvWeights(NamedTuple):
    """A convolution's weight [C', C / groups, k, k] and bias [C']."""

    weight: Tensor
    bias: Tensor


def read_convolutions(path: Path) -> list[ConvWeights]:
    """The weights of all convolutions of an ONNX file, in the order of its graph.

    Raises:
        InputError: if the file is missing, no ONNX model, or has a convolution without a bias.
    """
    import onnx
    from onnx import numpy_helper

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
    """Put the weights of ``path`` into the parts' convolutions, in the order in which they run.

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

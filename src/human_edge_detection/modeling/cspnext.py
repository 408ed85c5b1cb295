"""CSPNeXt, the backbone of RTMDet (Lyu et al., 2022), and the blocks that its pyramid shares.

There are no batch norms: the published networks have them folded into the convolutions. The
modules of each block stand in the order in which the network runs them, which is the order of
the weights in an exported file (``person_extractor``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.modeling.layers import DepthwiseConv

STEM_CHANNELS = (8, 8, 16)
STAGE_CHANNELS = (32, 64, 128, 256)
STAGE_BLOCKS = (1, 2, 2, 1)
POOLINGS = 3
"""Poolings of 5x5 in a row: 5x5, 9x9 and 13x13 together."""


class ConvSilu(nn.Module):
    """A convolution of an odd ``kernel`` and SiLU; the size is kept at stride 1, halved at 2."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        stride: int = 1,
        is_depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.conv: nn.Conv2d = (
            DepthwiseConv(channels_in, kernel, stride, with_bias=True)
            if is_depthwise
            else nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to float [B, C', h', w']."""
        return functional.silu(self.conv(x))


class Separable(nn.Sequential):
    """Each channel filtered, then all mixed by 1x1, each with SiLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__(
            ConvSilu(channels_in, channels_in, kernel, stride, is_depthwise=True),
            ConvSilu(channels_in, channels_out),
        )


class Block(nn.Module):
    """3x3 and 5x5 separable convolutions, added to the input where the layer says so."""

    def __init__(self, width: int, is_added: bool) -> None:
        super().__init__()
        self.first = Separable(width, width, 3)
        self.second = Separable(width, width, 5)
        self.is_added = is_added

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to the same shape."""
        found: Tensor = self.second(self.first(x))
        return found + x if self.is_added else found


class ChannelAttention(nn.Module):
    """Channels weighted by what the whole map shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to the same shape."""
        return x * functional.hardsigmoid(self.weigh(functional.adaptive_avg_pool2d(x, 1)))


class CspLayer(nn.Module):
    """Half of the channels through blocks, half past them, joined, perhaps weighted, and mixed.

    ``is_added``: each block is added to its input.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        blocks: int = 1,
        is_added: bool = False,
        with_attention: bool = False,
    ) -> None:
        super().__init__()
        width = channels_out // 2
        self.past = ConvSilu(channels_in, width)
        self.narrow = ConvSilu(channels_in, width)
        self.blocks = nn.Sequential(*(Block(width, is_added) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * width) if with_attention else nn.Identity()
        self.mix = ConvSilu(2 * width, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to float [B, C', h, w]."""
        past = self.past(x)
        joined = torch.cat([self.blocks(self.narrow(x)), past], dim=1)
        mixed: Tensor = self.mix(self.attention(joined))
        return mixed


class PyramidPooling(nn.Module):
    """The map beside its maxima over 5x5, 9x9 and 13x13 cells, mixed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = ConvSilu(width, width // 2)
        self.mix = ConvSilu((1 + POOLINGS) * (width // 2), width)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to the same shape."""
        parts = [self.narrow(x)]
        for _ in range(POOLINGS):
            parts.append(functional.max_pool2d(parts[-1], 5, stride=1, padding=2))
        mixed: Tensor = self.mix(torch.cat(parts, dim=1))
        return mixed


class CspNext(nn.Module):
    """The backbone of RTMDet-nano: maps of strides 4, 8, 16 and 32 from normalised images."""

    def __init__(self) -> None:
        super().__init__()
        first, second, channels = STEM_CHANNELS
        self.stem = nn.Sequential(
            ConvSilu(3, first, 3, stride=2),
            ConvSilu(first, second, 3),
            ConvSilu(second, channels, 3),
        )
        stages = []
        for width, blocks in zip(STAGE_CHANNELS, STAGE_BLOCKS, strict=True):
            is_last = width == STAGE_CHANNELS[-1]
            stages.append(
                nn.Sequential(
                    Separable(channels, width, stride=2),
                    *([PyramidPooling(width)] if is_last else []),
                    CspLayer(width, width, blocks, is_added=not is_last, with_attention=True),
                )
            )
            channels = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Float [B, 32/64/128/256, H / s, W / s] for s = 4, 8, 16, 32 of images [B, 3, H, W]."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

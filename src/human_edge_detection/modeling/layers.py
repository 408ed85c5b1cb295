"""Depthwise convolution that trains fast under autocast on a CPU, and convolutions with norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAST_KERNEL = 3
"""Largest kernel that bfloat16 makes faster on a CPU, at stride 1.

Forward and backward of larger ones, and of stride 2, take 2 to 5 times longer than in float32.
"""


class DepthwiseConv(nn.Conv2d):
    """Filters each channel by itself, in float32 on a CPU; size kept at stride 1.

    Args:
        width: number of channels.
        kernel: odd side of the filters.
        stride: 1 or 2.
        padding: zeros around the map; None for half the kernel.
        with_bias: whether there is a bias, where no norm follows.
    """

    def __init__(
        self,
        width: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        with_bias: bool = False,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__(width, width, kernel, stride, padding, groups=width, bias=with_bias)
        self._is_fast_in_half = kernel <= FAST_KERNEL and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] to float [B, C, H', W'] of the same precision."""
        if x.device.type != "cpu" or self._is_fast_in_half:
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def conv_norm(
    channels_in: int, channels_out: int, kernel: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size, depthwise if ``groups`` is above 1, and its batch norm."""
    conv = (
        DepthwiseConv(channels_in, kernel)
        if groups > 1
        else nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
    )
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))

"""What the networks share: RoI align, depthwise convolutions, and convolutions with norms.

RoI align takes any number of ROIs and is made for export; depthwise convolutions train fast under
autocast on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def roi_align(
    features: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float
) -> Tensor:
    """One bilinear sample at each bin centre of each ROI.

    The batch is stacked along the height, so that all ROIs are one ``grid_sample`` and no ROI
    copies its image's features. Samples are clamped to the outermost cell centres of the ROI's
    own image, which equals border padding and keeps images apart.

    Args:
        features: float [B, C, H, W].
        rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels; N may be 0.
        output_size: bins along y and x.
        spatial_scale: cells per input pixel, 1 / stride.

    Returns:
        float32 [N, C, output_size[0], output_size[1]].
    """
    # Coordinates in half precision would be off by whole cells on large images.
    with torch.autocast(features.device.type, enabled=False):
        features, rois = features.float(), rois.float()
        batch, channels, height, width = features.shape
        out_h, out_w = output_size
        index, boxes = rois[:, :1], rois[:, 1:] * spatial_scale
        x = _bin_centres(boxes[:, 0:1], boxes[:, 2:3], out_w).clamp(0.5, width - 0.5)
        y = _bin_centres(boxes[:, 1:2], boxes[:, 3:4], out_h).clamp(0.5, height - 0.5)
        y = y + index * height
        grid_x = (x * (2 / width) - 1)[:, None, :].expand(-1, out_h, -1)
        grid_y = (y * (2 / (batch * height)) - 1)[:, :, None].expand(-1, -1, out_w)
        grid = torch.stack([grid_x, grid_y], dim=3).reshape(1, -1, out_w, 2)
        stacked = features.permute(1, 0, 2, 3).reshape(1, channels, batch * height, width)
        # 'zeros' is 4-7 times faster than 'border' in ONNX Runtime, and equal after the clamp.
        sampled = functional.grid_sample(
            stacked, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return sampled.reshape(channels, -1, out_h, out_w).permute(1, 0, 2, 3)


def _bin_centres(low: Tensor, high: Tensor, count: int) -> Tensor:
    steps = (torch.arange(count, dtype=torch.float32, device=low.device) + 0.5) / count
    return low + (high - low) * steps[None]


class DynamicRoIAlign(nn.Module):
    """:func:`roi_align` with its constants held.

    ``output_size`` may be one number, bins along both sides; ``spatial_scale`` is 1 / stride.
    """

    def __init__(
        self, output_size: int | tuple[int, int] = 28, spatial_scale: float = 1 / 8
    ) -> None:
        super().__init__()
        self.output_size = (
            (output_size, output_size) if isinstance(output_size, int) else output_size
        )
        self.spatial_scale = spatial_scale

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """The bins of the ROIs, float [N, C, bins_y, bins_x]; see :func:`roi_align`."""
        return roi_align(features, rois, self.output_size, self.spatial_scale)


FAST_KERNEL = 3
"""Largest kernel that bfloat16 makes faster on a CPU, at stride 1.

Forward and backward of larger ones, and of stride 2, take 2 to 5 times longer than in float32.
"""


class DepthwiseConv(nn.Conv2d):
    """Filters each channel by itself, in float32 on a CPU; size kept at stride 1.

    The kernel is odd; a bias is for where no norm follows.
    """

    def __init__(
        self,
        width: int,
        kernel: int,
        stride: int = 1,
        with_bias: bool = False,
    ) -> None:
        super().__init__(width, width, kernel, stride, kernel // 2, groups=width, bias=with_bias)
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

"""The reference head: 13 GMAC a person, one feature map.

Its first 1x1 convolution comes after the RoI align. Before it the numbers would be the same, but a
map of 80x80 cells costs as much as eight ROIs of 28x28 bins, and few people are computed
at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.structures import MaskClass
from human_edge_detection.modeling.layers import DynamicRoIAlign


class _LayerNorm(nn.Module):
    """Layer norm over (C, H, W) with one scale and shift per channel, in float32.

    Written as reductions because opset 16 has no such op and half precision overflows.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            centred = wide - wide.mean(dim=(1, 2, 3), keepdim=True)
            variance = (centred * centred).mean(dim=(1, 2, 3), keepdim=True)
            return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class _Refine(nn.Module):
    """Two 3x3 convolutions with layer norm, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.first_norm = _LayerNorm(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.second_norm = _LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(hidden)))


class ReferenceHead(nn.Module):
    """The reference head: 5.79 M parameters with 1024 input channels, 13 GMAC a ROI.

    Args:
        channels: channels of the one feature map.
        stride: input pixels per cell of the map.
        roi_size: bins along the ROI align's side.
    """

    def __init__(self, channels: int, stride: float, roi_size: int = 28) -> None:
        super().__init__()
        self.align = DynamicRoIAlign(roi_size, 1 / stride)
        self.project = nn.Conv2d(channels, 256, 1)
        self.project_norm = _LayerNorm(256)
        self.blocks = nn.Sequential(_Refine(256), _Refine(256))
        self.up56 = nn.ConvTranspose2d(256, 256, 4, stride=2, padding=1)
        self.up56_norm = _LayerNorm(256)
        self.refine56 = _Refine(256)
        self.up112 = nn.ConvTranspose2d(256, 128, 4, stride=2, padding=1)
        self.up112_norm = _LayerNorm(128)
        self.refine112 = _Refine(128)
        self.narrow = nn.Conv2d(128, 64, 3, padding=1)
        self.fuse = nn.Conv2d(256 + 64, 128, 1)
        self.classify = nn.Conv2d(128, len(MaskClass), 1)

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Logits float [N, 3, 2 * roi_size, 2 * roi_size]; see :meth:`LiteHead.forward`."""
        return self.body(self.project(self.align(features[0], rois)))

    def body(self, x: Tensor) -> Tensor:
        """Logits from the projected bins of the ROIs, float [N, 256, roi_size, roi_size]."""
        x = self.blocks(functional.relu(self.project_norm(x)))
        x56 = self.refine56(functional.relu(self.up56_norm(self.up56(x))))
        x112 = self.refine112(functional.relu(self.up112_norm(self.up112(x56))))
        fine = functional.avg_pool2d(functional.relu(self.narrow(x112)), 2)
        fused = functional.relu(self.fuse(torch.cat([x56, fine], dim=1)))
        logits: Tensor = self.classify(fused)
        return logits

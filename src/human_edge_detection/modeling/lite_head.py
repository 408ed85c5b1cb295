"""The default head: a tenth of a GMAC a person, work that people share done once on the map.

The 1x1 convolutions that narrow the maps come *before* the RoI align. A 1x1 convolution commutes
with bilinear sampling, so this gives the same numbers as narrowing every ROI, once per image
instead of once per person.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.spec import are_small
from human_edge_detection.modeling.layers import conv_norm
from human_edge_detection.modeling.mask_trunk import Block, MaskTrunk

LITE_WIDTHS = (64, 96, 16)
"""Channels of a lite head at 28x28, 14x14 and 56x56, where nothing else is asked for."""


class _MapNeck(nn.Module):
    """What all people of an image share: one context map and one fine detail map.

    The context map has the smallest stride that is at least 8 (or the only one); coarser maps
    are projected and scaled up to it. The detail map is the finest one.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], width: int, detail_width: int
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.detail_id = min(range(len(strides)), key=lambda i: strides[i])
        # Measured strides are a little below 8, 16, ... where the image is no multiple of them.
        coarse = [i for i, stride in enumerate(strides) if round(stride) >= 8]
        self.context_ids = coarse or [self.detail_id]
        self.base_id = min(self.context_ids, key=lambda i: strides[i])
        self.context_stride = strides[self.base_id]
        self.map_strides = (self.context_stride, strides[self.detail_id])
        self.context = nn.ModuleList(conv_norm(channels[i], width) for i in self.context_ids)
        self.detail = conv_norm(channels[self.detail_id], detail_width)
        self.mix = Block(width)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        size_hw = features[self.base_id].shape[-2:]
        context: Tensor | None = None
        for index, project in zip(self.context_ids, self.context, strict=True):
            projected = project(features[index])
            if self.strides[index] != self.context_stride:
                projected = functional.interpolate(
                    projected, size=size_hw, mode="bilinear", align_corners=False
                )
            context = projected if context is None else context + projected
        assert context is not None
        detail = functional.relu(self.detail(features[self.detail_id]))
        return self.mix(functional.relu(context)), detail


class LiteHead(nn.Module):
    """The default head: 0.09 GMAC a person, work that people share done on the map.

    Args:
        channels: channels of each feature map.
        strides: input pixels per cell of each feature map.
        width: channels at 28x28.
        context_width: channels at 14x14.
        detail_width: channels at 56x56.
        roi_size: bins along the ROI align's side.
        small_side: largest side, input pixels, of the ROIs that a second trunk takes, of half the
            bins and so a quarter of the work; 0 for no such trunk.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        width: int = LITE_WIDTHS[0],
        context_width: int = LITE_WIDTHS[1],
        detail_width: int = LITE_WIDTHS[2],
        roi_size: int = 28,
        small_side: float = 0.0,
    ) -> None:
        super().__init__()
        self.neck = _MapNeck(channels, strides, width, detail_width)
        widths, map_strides = (width, context_width, detail_width), self.neck.map_strides
        self.trunk = MaskTrunk(*widths, roi_size, *map_strides)
        self.small_side = small_side
        self.small = MaskTrunk(*widths, roi_size // 2, *map_strides) if small_side else None

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Logits float [N, 3, 2 * roi_size, 2 * roi_size] of all ROIs of a batch.

        Args:
            features: one float [B, C, h, w] per layer.
            rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels; N may be 0.
        """
        if self.small is None:
            logits: Tensor = self.trunk(*self.neck(features), rois)
            return logits
        small = are_small(rois, self.small_side)
        order = torch.argsort(small.int(), stable=True)
        apart = self.apart(features, rois[~small], rois[small])
        return apart[torch.argsort(order)]

    def apart(self, features: Sequence[Tensor], rois: Tensor, small_rois: Tensor) -> Tensor:
        """The logits of ``rois`` by the first trunk, then those of ``small_rois`` by the second.

        The second trunk's masks have half the bins and are scaled up.
        """
        assert self.small is not None
        maps = self.neck(features)
        parts = [
            trunk(*maps, own)
            for trunk, own in ((self.trunk, rois), (self.small, small_rois))
            if len(own) or not self.training  # a batch norm cannot learn from nobody
        ]
        if not self.training or len(small_rois):
            parts[-1] = functional.interpolate(parts[-1], scale_factor=2.0, mode="bilinear")
        return torch.cat(parts)

"""The default head: 0.09 GMAC a person, since what people share is computed once on the maps.

A neck narrows the extractor's maps to two, once per image; a trunk turns samples of both into the
logits of each ROI. The 1x1 convolutions that narrow the maps come *before* the RoI align: a 1x1
convolution commutes with bilinear sampling, so the numbers equal those of narrowing every ROI.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.spec import are_small
from human_edge_detection.core.structures import MaskClass
from human_edge_detection.modeling.layers import DynamicRoIAlign, conv_norm

LITE_WIDTHS = (64, 96, 16)
"""Channels of a lite head at 28x28, 14x14 and 56x56, where nothing else is asked for."""


class Block(nn.Module):
    """Depthwise 5x5, then a two-layer 1x1 network, added to its input."""

    def __init__(self, width: int, expansion: int = 2) -> None:
        """Make the layers; ``expansion`` times ``width`` channels are hidden."""
        super().__init__()
        self.spatial = conv_norm(width, width, 5, groups=width)
        self.expand = conv_norm(width, expansion * width)
        self.reduce = conv_norm(expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Float [N, C, h, w] to the same shape."""
        hidden = functional.relu(self.expand(self.spatial(x)))
        return functional.relu(x + self.reduce(hidden))


class _MapNeck(nn.Module):
    """Narrows the maps of an image to one context map and one fine detail map for all ROIs.

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


class MaskTrunk(nn.Module):
    """Cuts ROIs out of a context and a detail map and returns their masks' logits.

    Detail sampled at twice the bins is folded into channels (pixel unshuffle), so that all but the
    last two convolutions run at ``roi_size`` bins; a branch of half the bins sees the whole ROI.
    Sizes in names and comments are those of 28 bins.

    Args:
        width: channels at 28x28, which are the context map's.
        context_width: channels at 14x14.
        detail_width: channels at 56x56, which are the detail map's.
        roi_size: bins along the ROI align's side, even.
        context_stride: input pixels per cell of the context map.
        detail_stride: input pixels per cell of the detail map.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        detail_width: int,
        roi_size: int,
        context_stride: float,
        detail_stride: float,
    ) -> None:
        super().__init__()
        self.widths = (width, detail_width)
        self.align_context = DynamicRoIAlign(roi_size, 1 / context_stride)
        self.align_detail = DynamicRoIAlign(2 * roi_size, 1 / detail_stride)
        self.fuse = conv_norm(width + 4 * detail_width, width)
        # A bin's place in the box is strong evidence of its class.
        self.position = nn.Parameter(torch.zeros(1, width, roi_size, roi_size))
        self.before = Block(width)
        self.down = conv_norm(width, context_width)
        self.around = nn.Sequential(*[Block(context_width) for _ in range(3)])
        self.up = conv_norm(context_width, width)
        self.after = nn.Sequential(Block(width), Block(width))
        self.to_fine = conv_norm(width, 4 * detail_width)
        self.refine = conv_norm(2 * detail_width, detail_width, 3)
        self.classify = nn.Conv2d(detail_width, len(MaskClass), 1)

    def forward(self, context_map: Tensor, detail_map: Tensor, rois: Tensor) -> Tensor:
        """Logits float [N, 3, 2 * roi_size, 2 * roi_size] of the ROIs.

        Args:
            context_map: float [B, width, h, w].
            detail_map: float [B, detail_width, H, W].
            rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels; N may be 0.
        """
        detail = self.align_detail(detail_map, rois)
        x = self._fuse(self.align_context(context_map, rois), detail)
        x = self.before(functional.relu(x + self.position))
        around = self.around(functional.relu(self.down(functional.avg_pool2d(x, 2))))
        around = functional.interpolate(self.up(around), scale_factor=2.0, mode="nearest")
        x = self.after(functional.relu(x + around))
        fine = functional.pixel_shuffle(functional.relu(self.to_fine(x)), 2)
        fine = functional.relu(self.refine(torch.cat([fine, detail], dim=1)))
        logits: Tensor = self.classify(fine)
        return logits

    def _fuse(self, context: Tensor, detail: Tensor) -> Tensor:
        """``fuse`` on the context and on the detail folded into channels (pixel unshuffle).

        A 1x1 convolution of folded channels is a 2x2 convolution of stride 2, so nothing is
        folded or joined: a sum of two convolutions that ONNX Runtime keeps in its own layout.
        """
        project, norm = self.fuse
        assert isinstance(project, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        weight, shift = project.weight, None
        if not self.training:  # no exporter folds a norm into two convolutions by itself
            weight, shift = _with_norm(project.weight, norm)
        # Not read from the maps: an export would cut the weights anew in each run, and pack them.
        width, detail_width = self.widths
        kernel = weight[:, width:].reshape(width, detail_width, 2, 2)
        both = functional.conv2d(context, weight[:, :width], shift)
        both = both + functional.conv2d(detail, kernel, stride=2)
        fused: Tensor = norm(both) if self.training else both
        return fused


def _with_norm(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The weight and bias of one convolution equal to it and the norm after it in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class LiteHead(nn.Module):
    """The default head; see the module.

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
        """Logits float [N + S, 3, M, M] of ``rois``, then of ``small_rois``.

        The second trunk computes those of the small ones, of half the bins and scaled up.

        Args:
            features: one float [B, C, h, w] per layer.
            rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels; N may be 0.
            small_rois: float32 [S, 5], the same for the ROIs that :func:`are_small` names.
        """
        assert self.small is not None
        maps = self.neck(features)
        parts = [
            trunk(*maps, own)
            for trunk, own in ((self.trunk, rois), (self.small, small_rois))
            if len(own) or not self.training  # a batch norm cannot learn from no ROI
        ]
        if not self.training or len(small_rois):
            parts[-1] = functional.interpolate(parts[-1], scale_factor=2.0, mode="bilinear")
        return torch.cat(parts)

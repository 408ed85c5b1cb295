"""A head of two trunks as a file with one input, for engines that refuse an input without rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from human_edge_detection.core.spec import ModelSpec


class OneInput(nn.Module):
    """The head with both trunks run on every ROI, and the logits of the right one chosen."""

    def __init__(self, head: nn.Module, small_side: float) -> None:
        super().__init__()
        self.head, self.small_side = head, small_side

    def forward(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Logits float [N, 3, M, M], those of the head itself."""
        head: Any = self.head
        both = head.apart(features, rois, rois)
        large, small = both[: rois.shape[0]], both[rois.shape[0] :]
        # as of are_small, which the exporter cannot follow
        longest = (rois[:, 3:] - rois[:, 1:3]).amax(dim=1)
        return torch.where((longest <= self.small_side)[:, None, None, None], small, large)


def with_one_input(head: nn.Module, spec: ModelSpec) -> tuple[nn.Module, ModelSpec]:
    """The head and its facts for a file that takes all ROIs by ``rois``; unchanged with one trunk.

    The masks are the same; each person costs both trunks.
    """
    if not spec.small_side:
        return head, spec
    return OneInput(head, spec.small_side), replace(spec, small_branch=False)

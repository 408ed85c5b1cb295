"""What a head is, as every checkpoint tells it, and the head that this makes."""

from __future__ import annotations

from torch import nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.lite_head import LITE_WIDTHS, LiteHead
from human_edge_detection.modeling.reference_head import SpecHead


def build_head(spec: ModelSpec) -> nn.Module:
    """The head that ``spec`` describes, with fresh weights.

    Raises:
        InputError: if the head's kind is unknown, or does not fit the rest.
    """
    if spec.head == "lite":
        if spec.roi_size % 2:
            raise InputError(f"--roi_size {spec.roi_size} must be even for --head lite")
        if spec.small_branch and (spec.roi_size % 4 or spec.roi_size < 8):
            raise InputError(
                f"--roi_size {spec.roi_size} must be a multiple of 4, from 8 on, for --small_branch"
            )
        width, context_width, detail_width = spec.widths or LITE_WIDTHS
        return LiteHead(
            spec.channels, spec.strides, width, context_width, detail_width, spec.roi_size,
            spec.small_side,
        )  # fmt: skip
    if spec.head == "spec":
        if spec.widths:
            raise InputError(f"--head_widths {' '.join(map(str, spec.widths))} needs --head lite")
        if spec.small_branch:
            raise InputError("--small_branch needs --head lite")
        if len(spec.channels) != 1:
            raise InputError(
                f"--head spec reads one feature map, but --layers names {len(spec.channels)}: "
                "name one layer, or use --head lite"
            )
        return SpecHead(spec.channels[0], spec.strides[0], roi_size=spec.roi_size)
    raise InputError(f"--head {spec.head} is not one of lite, spec")

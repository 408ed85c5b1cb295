"""The heads by name: a new one is one module and one row of :data:`HEADS`.

Nothing here loads torch before a head is built, so that ``--help`` can list the names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


def build_head(spec: ModelSpec) -> nn.Module:
    """The head that ``spec`` describes, with fresh weights.

    Called with feature maps, one float [B, C, h, w] per layer, and rois float32 [N, 5], it returns
    logits float [N, 3, 2 * roi_size, 2 * roi_size].

    Raises:
        InputError: if the head's name is unknown, or does not fit the rest.
    """
    if spec.head not in HEADS:
        raise InputError(f"head {shown(spec.head)} is not one of {', '.join(HEADS)}")
    return HEADS[spec.head].build(spec)


class HeadKind(NamedTuple):
    """A kind of head.

    Attributes:
        build: makes the head of a spec, or raises an InputError where the spec does not fit it.
        lr: peak learning rate of fresh weights where none is asked for.
    """

    build: Callable[[ModelSpec], nn.Module]
    lr: float


def _lite(spec: ModelSpec) -> nn.Module:
    from human_edge_detection.modeling.lite_head import LITE_WIDTHS, LiteHead

    if spec.roi_size % 2:
        raise InputError(f"roi_size {spec.roi_size} must be even for head lite")
    if spec.small_branch and (spec.roi_size % 4 or spec.roi_size < 8):
        raise InputError(
            f"roi_size {spec.roi_size} must be a multiple of 4, from 8 on, for small_branch"
        )
    if len(spec.widths) not in (0, len(LITE_WIDTHS)):
        raise InputError(f"head_widths {_listed(spec.widths)} must be {len(LITE_WIDTHS)} numbers")
    width, context_width, detail_width = spec.widths or LITE_WIDTHS
    return LiteHead(
        spec.channels, spec.strides, width, context_width, detail_width, spec.roi_size,
        spec.small_side,
    )  # fmt: skip


def _reference(spec: ModelSpec) -> nn.Module:
    from human_edge_detection.modeling.reference_head import ReferenceHead

    if spec.widths:
        raise InputError(f"head_widths {_listed(spec.widths)} needs head lite")
    if spec.small_branch:
        raise InputError("small_branch needs head lite")
    if len(spec.channels) != 1:
        raise InputError(
            f"head spec reads one feature map, but layers names {len(spec.channels)}: "
            "name one layer, or use head lite"
        )
    return ReferenceHead(spec.channels[0], spec.strides[0], roi_size=spec.roi_size)


def _listed(widths: tuple[int, ...]) -> str:
    return " ".join(map(str, widths))


TUNED = 0.15
"""Fraction of ``lr`` where a run begins with trained weights of the head."""

HEADS = {"lite": HeadKind(_lite, lr=2e-3), "spec": HeadKind(_reference, lr=1e-4)}

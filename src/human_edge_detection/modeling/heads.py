"""What a head is, as every checkpoint tells it, and the head that this makes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.lite_head import LITE_WIDTHS, LiteHead
from human_edge_detection.modeling.reference_head import SpecHead

SMALL_CELLS = 1.25
"""Cells of the finest map that a small ROI has at most, for each of ``roi_size`` bins."""


@dataclass(frozen=True)
class ModelSpec:
    """All that rebuilds a head and runs it as it was trained; travels in every checkpoint.

    Attributes:
        head: "lite" or "spec".
        layers: tensor names of the extractor, one per feature map.
        channels: channels of each map.
        strides: input pixels per cell of each map.
        image_size: height and width of the network's input.
        roi_size: bins along the ROI align's side; masks have twice as many.
        roi_padding: margin around a box on each side, as a part of its side.
        extractor_sha: short hash of the extractor's file, "" where it is trained along.
        class_weights: cross-entropy weights of the three classes.
        widths: channels of a lite head at 28x28, 14x14 and 56x56; () where the head has no choice.
    """

    head: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    strides: tuple[float, ...]
    image_size: tuple[int, int] = (640, 640)
    roi_size: int = 28
    roi_padding: float = 0.1
    extractor_sha: str = ""
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    widths: tuple[int, ...] = ()
    small_branch: bool = False

    @property
    def mask_size(self) -> int:
        """Bins along a mask's side."""
        return 2 * self.roi_size

    @property
    def small_side(self) -> float:
        """Largest side, input pixels, of the ROIs that count as small; 0 if none do.

        Half the bins still sample the finest map at least every ``SMALL_CELLS`` cells.
        """
        return SMALL_CELLS * self.roi_size * min(self.strides) if self.small_branch else 0.0


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

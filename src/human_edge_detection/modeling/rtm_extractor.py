"""The person extractor that begins with RTMDet-nano: its backbone, pyramid and detector.

The head reads maps of four strides from it. The finest one is made here: the backbone's own at
stride 4 has seen little of the photo, so what the pyramid knows at stride 8 is handed down to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.cspnext import STAGE_CHANNELS, CspNext
from human_edge_detection.modeling.layers import conv_norm
from human_edge_detection.modeling.person_extractor import Separable
from human_edge_detection.modeling.person_network import Candidates, DetectorCosts, PersonNetwork
from human_edge_detection.modeling.rtm_network import (
    PYRAMID_CHANNELS,
    PathPyramid,
    RtmDetector,
    doubled,
)
from human_edge_detection.modeling.rtm_weights import fill_convolutions, read_convolutions
from human_edge_detection.modeling.soft_label_loss import soft_label_loss

MEAN_RGB = (123.675, 116.28, 103.53)
DEVIATION_RGB = (58.395, 57.12, 57.375)
"""Of the values 0-255 that the published network was trained on."""


class FineMap(nn.Module):
    """The map of stride 4 with the pyramid's finest one added."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        width = STAGE_CHANNELS[0]
        self.own = conv_norm(width, width)
        self.coarser = conv_norm(PYRAMID_CHANNELS[0], width)
        self.smooth = Separable(width, 3)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Float [B, 32, H / 4, W / 4] from [B, 32, H / 4, W / 4] and [B, 64, H / 8, W / 8]."""
        joined = functional.relu(self.own(fine) + doubled(self.coarser(coarse)))
        smoothed: Tensor = self.smooth(joined)
        return smoothed


class RtmExtractor(PersonNetwork):
    """RTMDet-nano as a person extractor.

    Frozen, it gives no candidates in training: there is nothing in them to learn from.

    Args:
        with_detector: whether the detector is kept.
    """

    layers = ("stride4", "stage8", "neck8", "neck16", "neck32")
    channels = (*STAGE_CHANNELS[:2], *PYRAMID_CHANNELS)
    strides = (4.0, 8.0, 8.0, 16.0, 32.0)
    pretrained = ("backbone", "neck", "detector")
    origin = "RTMDet-nano for people (OpenMMLab, Apache-2.0), trained on people"
    mean: Tensor
    deviation: Tensor

    def __init__(self, with_detector: bool = True) -> None:
        super().__init__()
        self.backbone = CspNext()
        self.neck = PathPyramid()
        self.detector = RtmDetector() if with_detector else None
        self.fine = FineMap()
        for name, values in (("mean", MEAN_RGB), ("deviation", DEVIATION_RGB)):
            constant = torch.tensor(values).reshape(1, 3, 1, 1) / 255
            self.register_buffer(name, constant, persistent=False)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Candidates | None]:
        """The head's maps, in the order of ``layers``, and the candidates.

        Args:
            images: float [B, 3, H, W] RGB 0-1; H and W are multiples of 32.
        """
        fine, *coarse = self.backbone((images - self.mean) / self.deviation)
        pyramid = self.neck(coarse)
        is_asked = not (self.is_frozen and self.training)
        found = self.detector(pyramid) if self.detector is not None and is_asked else None
        return [self.fine(fine, pyramid[0]), coarse[0], *pyramid], found

    def detector_costs(
        self, candidates: Candidates, targets: Sequence[BoxTargets]
    ) -> DetectorCosts:
        """The loss of the boxes and scores."""
        return soft_label_loss(candidates, targets)

    @torch.no_grad()
    def begin_with(self, path: Path) -> None:
        """Take the weights of the published ONNX file, which reads BGR, in place.

        Raises:
            InputError: if the file is missing or holds another network.
        """
        weights = read_convolutions(path)
        whole = RtmDetector() if self.detector is None else self.detector
        fill_convolutions([self.backbone, self.neck, whole], weights, path)
        first = next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        first.weight.copy_(first.weight.flip(1))

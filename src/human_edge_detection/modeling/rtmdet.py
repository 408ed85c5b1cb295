"""RTMDet's pyramid and person detector (Lyu et al., 2022) over the maps of ``cspnext``.

As there, modules are made in the order in which they run.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.modeling.cspnext import STAGE_CHANNELS, ConvSilu, CspLayer, Separable

PYRAMID_CHANNELS = STAGE_CHANNELS[1:]
DETECTOR_STRIDES = (8, 16, 32)
DETECTOR_WIDTH = 64
DETECTOR_DEPTH = 2


class Candidates(NamedTuple):
    """A box at every point of the detector's grids.

    Attributes:
        boxes: float32 [B, A, 4] xyxy, input pixels.
        logits: float32 [B, A]; their sigmoid is the score.
        points: float32 [A, 2], x and y of each point, input pixels.
        strides: float32 [A], distance between the points of the same grid.
    """

    boxes: Tensor
    logits: Tensor
    points: Tensor
    strides: Tensor


def grid_points(height: int, width: int, stride: int) -> Tensor:
    """The cells' upper left corners float32 [height * width, 2], x and y in input pixels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], dim=2).reshape(-1, 2).float() * stride


class PathPyramid(nn.Module):
    """Coarse maps handed down to finer ones, then fine ones up again (PAFPN)."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = PYRAMID_CHANNELS
        self.narrow_coarse = ConvSilu(coarse, middle)
        self.down_middle = CspLayer(2 * middle, middle)
        self.narrow_middle = ConvSilu(middle, fine)
        self.down_fine = CspLayer(2 * fine, fine)
        self.shrink_fine = Separable(fine, fine, stride=2)
        self.up_middle = CspLayer(2 * fine, middle)
        self.shrink_middle = Separable(middle, middle, stride=2)
        self.up_coarse = CspLayer(2 * middle, coarse)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Float [B, 64/128/256, H / s, W / s] for s = 8, 16, 32 from the backbone's of these."""
        fine, middle, coarse = maps
        from_coarse = self.narrow_coarse(coarse)
        middle = self.down_middle(torch.cat([doubled(from_coarse), middle], dim=1))
        from_middle = self.narrow_middle(middle)
        fine = self.down_fine(torch.cat([doubled(from_middle), fine], dim=1))
        middle = self.up_middle(torch.cat([self.shrink_fine(fine), from_middle], dim=1))
        coarse = self.up_coarse(torch.cat([self.shrink_middle(middle), from_coarse], dim=1))
        return [fine, middle, coarse]


def doubled(x: Tensor) -> Tensor:
    """The map with each cell repeated 2x2."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class DetectorLevel(nn.Module):
    """Scores and distances from one map: a branch of separable convolutions for each."""

    def __init__(self) -> None:
        super().__init__()
        width = DETECTOR_WIDTH
        self.score_branch = nn.Sequential(*(Separable(width, width) for _ in range(DETECTOR_DEPTH)))
        self.score = nn.Conv2d(width, 1, 1)
        self.box_branch = nn.Sequential(*(Separable(width, width) for _ in range(DETECTOR_DEPTH)))
        self.distance = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score logits [B, h * w] and distances [B, h * w, 4] to the box's sides, in cells."""
        logits = self.score(self.score_branch(x)).float().flatten(1)
        reach = self.distance(self.box_branch(x)).float()
        return logits, reach.flatten(2).transpose(1, 2)


class RtmDetector(nn.Module):
    """Boxes and scores from the pyramid's maps.

    A box is seen from the upper left corner of its cell, not from its centre.
    """

    def __init__(self) -> None:
        super().__init__()
        width = DETECTOR_WIDTH
        self.stems = nn.ModuleList(Separable(channels, width) for channels in PYRAMID_CHANNELS)
        self.levels = nn.ModuleList(DetectorLevel() for _ in PYRAMID_CHANNELS)

    def forward(self, maps: list[Tensor]) -> Candidates:
        """A candidate for every cell of the three maps, the finest map's first."""
        answers, points, strides = [], [], []
        for stem, level, x, stride in zip(
            self.stems, self.levels, maps, DETECTOR_STRIDES, strict=True
        ):
            answers.append(level(stem(x)))
            corners = grid_points(x.shape[2], x.shape[3], stride).to(x.device)
            points.append(corners)
            strides.append(torch.full_like(corners[:, 0], float(stride)))
        where, scale = torch.cat(points), torch.cat(strides)
        logits = torch.cat([answer[0] for answer in answers], dim=1)
        reach = torch.cat([answer[1] for answer in answers], dim=1) * scale[:, None]
        boxes = torch.cat([where - reach[..., :2], where + reach[..., 2:]], dim=2)
        return Candidates(boxes, logits, where, scale)

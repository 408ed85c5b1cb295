"""What every person extractor is: maps for the head and candidates for the detector's loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from human_edge_detection.core.structures import BoxTargets

DETECTOR_STRIDES = (8, 16, 32)
MULTIPLE = 32
"""What the images' height and width must be multiples of."""


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


class DetectorCosts(NamedTuple):
    """The detector's loss and its terms, scalars."""

    total: Tensor
    box: Tensor
    score: Tensor


def grid_points(height: int, width: int, stride: int) -> Tensor:
    """The centres float32 [height * width, 2] of a map's cells, x and y in input pixels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y], dim=2).reshape(-1, 2).float() + 0.5) * stride


class PersonNetwork(nn.Module):
    """An image in; the head's maps and, if there is a detector, people's boxes out.

    ``forward`` takes images float [B, 3, H, W] RGB 0-1 and gives the maps, in the order of
    ``layers``, and :class:`Candidates` or None.

    Attributes:
        layers: names of the maps; they tell in a checkpoint which network it holds.
        channels: channels of each map.
        strides: input pixels per cell of each map.
        pretrained: names of the parts that begin with weights trained elsewhere.
        origin: where those come from, for the metadata of exported files.
        detector: finds people, or None.
        is_frozen: whether the pretrained parts stay as they are.

    Args:
        with_detector: whether there is a detector.
    """

    layers: ClassVar[tuple[str, ...]]
    channels: ClassVar[tuple[int, ...]]
    strides: ClassVar[tuple[float, ...]]
    pretrained: ClassVar[tuple[str, ...]]
    origin: ClassVar[str]
    detector: nn.Module | None
    is_frozen = False

    def __init__(self, with_detector: bool = True) -> None:
        super().__init__()

    @abstractmethod
    def detector_costs(
        self, candidates: Candidates, targets: Sequence[BoxTargets]
    ) -> DetectorCosts:
        """What the detector's answer for B images costs, given the people in them."""

    def freeze(self) -> None:
        """Leave the pretrained parts, statistics of norms included, as they are from now on."""
        self.is_frozen = True
        for part in self._pretrained_parts():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> PersonNetwork:
        """Set training or evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        for part in self._pretrained_parts() if self.is_frozen else ():
            part.eval()
        return self

    def _pretrained_parts(self) -> list[nn.Module]:
        parts = (getattr(self, name) for name in self.pretrained)
        return [part for part in parts if part is not None]

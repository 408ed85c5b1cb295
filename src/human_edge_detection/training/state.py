"""Where a run stands, and the means of an epoch under way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

Costs = dict[str, Tensor]
"""A step's loss as ``total``, and its terms, scalars."""


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: epochs finished.
        batches: batches of the present epoch that were trained on.
        step: optimizer steps taken.
        best_miou: best value so far of the validation metric that picks the model.
        best_epoch: the epoch it was reached in.
        validated: the last epoch that was validated.
        waited: validations since the best one.
    """

    epoch: int = 0
    batches: int = 0
    step: int = 0
    best_miou: float = -1.0
    best_epoch: int = 0
    validated: int = 0
    waited: int = 0


@dataclass
class Means:
    """Running means of an epoch, weighted by ROIs."""

    rois: int = 0
    photos: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, costs: Costs, share: int) -> None:
        """Add a step's costs."""
        self.rois += share
        for name, value in costs.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * share

    def values(self) -> dict[str, float]:
        """The mean of each loss part."""
        return {name: self[name] for name in self.sums}

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, math.nan) / max(1, self.rois)

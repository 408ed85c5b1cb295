"""Where a run stands, and the means of an epoch under way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from human_edge_detection.core.errors import shown

Costs = dict[str, Tensor]
"""The loss of a step as ``total``, and its terms, scalars."""
SCORE_KEY = "best_miou"
"""Name of ``best_score`` in checkpoints, from the time when mIoU alone picked the model."""


@dataclass
class Progress:
    """Where a run stands. The run holds it; the trainer counts its steps in it.

    Attributes:
        epoch: epochs finished.
        batches: batches of the present epoch that were trained on.
        step: optimizer steps taken.
        best_score: best value so far of the validation metric that picks the model.
        best_epoch: the epoch in which it was reached.
        validated: the last epoch that was validated.
        waited: validations since the best one.
    """

    epoch: int = 0
    batches: int = 0
    step: int = 0
    best_score: float = -1.0
    best_epoch: int = 0
    validated: int = 0
    waited: int = 0

    @classmethod
    def restored(cls, payload: Mapping[str, Any], photos_a_batch: int) -> Progress:
        """The progress of a checkpoint, its batches counted in batches of ``photos_a_batch``.

        Photos that no whole number of such batches covers are trained on once more.

        Raises:
            ValueError: if a number is none; other exceptions if it is no progress at all.
        """
        values = dict(payload["progress"])
        for name, value in values.items():
            if type(value) is not int and not (name == SCORE_KEY and isinstance(value, float)):
                raise ValueError(f"progress {name} is {shown(value)}")
        progress = cls(best_score=values.pop(SCORE_KEY), **values)
        before = payload.get("photos_a_batch", photos_a_batch)
        progress.batches = progress.batches * before // photos_a_batch
        return progress

    def saved(self) -> dict[str, Any]:
        """What :meth:`restored` finds in a checkpoint as ``progress``."""
        values = asdict(self)
        values[SCORE_KEY] = values.pop("best_score")
        return values

    def forget_best(self) -> None:
        """Start the search for the best epoch anew, with the weights at hand."""
        self.best_score, self.best_epoch, self.waited = -1.0, 0, 0
        self.validated = min(self.validated, self.epoch - 1)


@dataclass
class Means:
    """Running means of an epoch, weighted by ROIs."""

    rois: int = 0
    photos: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, costs: Costs, share: int) -> None:
        """Add the costs of a step of ``share`` ROIs."""
        self.rois += share
        for name, value in costs.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * share

    def values(self) -> dict[str, float]:
        """The mean of each loss term."""
        return {name: self[name] for name in self.sums}

    def __getitem__(self, name: str) -> float:
        return self.sums.get(name, math.nan) / max(1, self.rois)

"""The learning rate as a function of the step alone, so that resuming rebuilds it exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A learning rate for every step of a run.

    Attributes:
        kind: "cosine", "step", "exponential" or "none".
        peak: learning rate after the warm-up.
        steps_per_epoch: optimizer steps in one epoch.
        epochs: epochs of the whole run.
        floor: where "cosine" ends.
        decay_epochs: epochs between the drops of "step".
        decay_rate: factor of each drop of "step", and of each epoch of "exponential".
        warmup_steps: steps over which the rate rises linearly, at most a tenth of the run.
    """

    kind: str
    peak: float
    steps_per_epoch: int
    epochs: int
    floor: float = 0.0
    decay_epochs: int = 10
    decay_rate: float = 0.1
    warmup_steps: int = 0

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        total = max(1, self.steps_per_epoch * self.epochs)
        warmup = min(self.warmup_steps, total // 10)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        epoch = step // max(1, self.steps_per_epoch)
        if self.kind == "cosine":
            done = min(1.0, (step - warmup) / max(1, total - warmup))
            return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * done)) / 2
        if self.kind == "step":
            return self.peak * float(self.decay_rate ** (epoch // max(1, self.decay_epochs)))
        if self.kind == "exponential":
            return self.peak * float(self.decay_rate**epoch)
        return self.peak

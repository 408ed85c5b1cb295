"""Where a run stands, the means of an epoch under way, and how both are shown."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from torch import Tensor
from tqdm import tqdm

from human_edge_detection.core.errors import shown
from human_edge_detection.modeling.losses import COSTS

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


LOG = logging.getLogger(__name__)
Item = TypeVar("Item")
LINE_EVERY_S = 30.0
"""Seconds between lines in a log: a slow step may take as long again before the next one."""
BAR_FORMAT = "{desc} {n_fmt}/{total_fmt} {bar} {elapsed}<{remaining}"
"""The numbers come first, so that a narrow terminal cuts off the bar and the times."""
WIDE = 110
"""Columns from which the terms of the loss are shown too."""


def duration(seconds: float) -> str:
    """A time for people to read: ``40 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """How fast a run of ``epochs`` gets on, its validations included."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.batches = epochs, 0
        self.started = time.perf_counter()

    def left(self, epoch: int, done: int, per_epoch: int) -> float:
        """Seconds to the end of the run, after ``epoch`` epochs and ``done`` batches."""
        rest = (self.epochs - epoch) * per_epoch - done
        return rest * (time.perf_counter() - self.started) / max(1, self.batches)


class EpochDisplay(AbstractContextManager["EpochDisplay"]):
    """Shows the steps of one epoch of ``total`` batches, ``done`` of them trained on before.

    A context manager; ``is_shown`` is False in all processes but the first.
    """

    def __init__(self, pace: Pace, epoch: int, total: int, done: int, is_shown: bool) -> None:
        self.pace, self.epoch, self.total, self.done = pace, epoch, total, done
        self.started = self.shown_at = time.perf_counter()
        self.bar = tqdm(
            total=total, initial=done, unit="batch", bar_format=BAR_FORMAT, dynamic_ncols=True,
            disable=None if is_shown else True,
        )  # fmt: skip
        self.has_lines = is_shown and self.bar.disable

    def update(self, batches: int, means: Means, lr: float) -> float:
        """Show a step of some batches; returns the photos per second of this epoch."""
        now = time.perf_counter()
        speed = means.photos / max(now - self.started, 1e-9)
        self.done += batches
        self.pace.batches += batches
        name = f"epoch {self.epoch + 1}/{self.pace.epochs}"
        terms = [f"{cost} {means[cost]:.4f}" for cost in COSTS]
        main = [f"loss {means['total']:.4f}", f"lr {lr:.1e}", f"{speed:.1f} img/s"]
        if self.has_lines and (now - self.shown_at >= LINE_EVERY_S or self.done >= self.total):
            self.shown_at = now
            left = duration(self.pace.left(self.epoch, self.done, self.total))
            text = ", ".join([*main[:1], *terms, *main[1:], f"{left} left"])
            LOG.info("%s, batch %d/%d: %s", name, self.done, self.total, text)
        elif not self.bar.disable:
            is_wide = shutil.get_terminal_size().columns >= WIDE
            self.bar.set_description_str(
                " ".join([*main, *(terms if is_wide else ()), name]), refresh=False
            )
            self.bar.update(batches)
        return speed

    def __exit__(self, *error: object) -> None:
        self.bar.close()


def with_progress(
    items: Iterable[Item], total: int, what: str, unit: str, is_shown: bool = True
) -> Iterator[Item]:
    """The items, with a bar that goes when it is full, or lines in a log if it takes long.

    Lines are like "``what``: 3 of ``total`` ``unit``".
    """
    bar = tqdm(
        items, total=total, desc=what, unit=unit, dynamic_ncols=True, leave=False,
        disable=None if is_shown else True,
    )  # fmt: skip
    if not (is_shown and bar.disable):
        yield from bar
        return
    started = shown_at = time.perf_counter()
    for number, item in enumerate(items):
        now = time.perf_counter()
        if now - shown_at >= LINE_EVERY_S:
            left = duration((now - started) / number * (total - number))
            LOG.info("%s: %d of %d %s, %s left", what, number, total, unit, left)
            shown_at = now
        yield item

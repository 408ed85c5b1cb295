"""What a run shows while it works: a bar in a terminal, elsewhere a line at least every minute."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from tqdm import tqdm

from human_edge_detection.modeling.losses import COSTS
from human_edge_detection.training.state import Means

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
    """How fast a run gets on, its validations included.

    Args:
        epochs: epochs of the whole run.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs, self.batches = epochs, 0
        self.started = time.perf_counter()

    def left(self, epoch: int, done: int, per_epoch: int) -> float:
        """Seconds to the end of the run.

        Args:
            epoch: epochs finished.
            done: batches of the present epoch that are done.
            per_epoch: batches of an epoch.
        """
        rest = (self.epochs - epoch) * per_epoch - done
        return rest * (time.perf_counter() - self.started) / max(1, self.batches)


class EpochDisplay(AbstractContextManager["EpochDisplay"]):
    """Shows the steps of one epoch; a context manager.

    Args:
        pace: that of the run.
        epoch: epochs finished before this one.
        total: batches of the epoch.
        done: batches of it that were trained on before.
        is_shown: False in all processes but the first.
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
        """Leave the bar as it is."""
        self.bar.close()


def shown(
    items: Iterable[Item], total: int, what: str, unit: str, is_shown: bool = True
) -> Iterator[Item]:
    """The items, with a bar that goes when it is full, or lines in a log if it takes long.

    Args:
        items: what is worked on, one after the other.
        total: how many there are.
        what: the work, as the lines call it.
        unit: what the items are.
        is_shown: False for no bar and no lines.
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

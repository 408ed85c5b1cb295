"""What a run finds out about its own trouble, each with one line of advice.

A learning rate that is too low, people too small for the feature maps, a step that waits for
photos, a frozen network that takes most of the time, and a best model that found nobody.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from human_edge_detection.core import usable_cpus
from human_edge_detection.core.geometry import letterbox_transform
from human_edge_detection.core.options import FRESH, at_most_cpus
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data.annotations import Photo
from human_edge_detection.modeling.heads import HEADS
from human_edge_detection.training.options import TrainOptions

LOG = logging.getLogger(__name__)
Item = TypeVar("Item")
FAR_BELOW = 5
"""A new head's rate is too low where its default is more than so many times as large."""
FEW_CELLS = 4
"""Cells of the finest map along a box' shorter side, below which a mask is a blur."""
MANY_TINY, MUCH_WAITING, MUCH_EXTRACTING = 0.4, 0.3, 0.5
MOST_MEASURED = 500
"""Photos whose people are measured."""
FIRST_SIGHT_S, LONG_ENOUGH_S = 10.0, 120.0
"""Seconds of training behind a judgement at the end of an epoch, and within one."""
USELESS = 0.01
"""Score of a best model that masks nobody."""


def low_rate(options: TrainOptions) -> str | None:
    """Advice where a new model's ``--lr`` is far below what its head learns with.

    Weights that were trained before may be trained on as slowly as one likes.
    """
    head, lr = options.model.head, options.peak_lr
    usual = HEADS[head].lr
    if options.start.init_from not in (None, FRESH) or not 0 < lr < usual / FAR_BELOW:
        return None
    others = [f"{lr:g} suits --head {name}" for name, kind in HEADS.items()
              if name != head and lr >= kind.lr / FAR_BELOW]  # fmt: skip
    return (
        f"--lr {lr:g} is {usual / lr:.0f} times below the rate of --head {head}, which will learn "
        f"little: leave it out for {usual:g}" + "".join(f"; {text}" for text in others)
    )


def tiny_people(photos: Sequence[Photo], spec: ModelSpec) -> str | None:
    """Advice where many people are too small in the feature maps for sharp masks."""
    step = max(1, len(photos) // MOST_MEASURED)
    sides = [
        float((person.box_xyxy[2:] - person.box_xyxy[:2]).min())
        * abs(letterbox_transform(photo.size_hw, spec.image_size).scale_xy[1])
        for photo in (photos[index] for index in range(0, len(photos), step))
        for person in photo.people
        if person.is_target
    ]
    limit = FEW_CELLS * min(spec.strides)
    share = float(np.mean(np.array(sides) < limit)) if sides else 0.0
    if share < MANY_TINY:
        return None
    finer = "" if min(spec.strides) <= 4 else ", or name a map of a finer stride with --layers"
    height, width = spec.image_size
    return (
        f"{share:.0%} of the people are narrower than {FEW_CELLS} cells of the finest map "
        f"({limit:.0f} pixels at --image_size {height} {width}): their masks will be blurry; raise "
        f"--image_size{finer}"
    )


def useless(metric: str, score: float) -> str | None:
    """Advice where the best model of a run masks nobody."""
    if score >= USELESS:
        return None
    return (
        f"warning: the best model is of no use, its {metric} is {max(score, 0):.4f}: train longer "
        "(--epochs), leave out --lr, and look for faults in the annotations with check_data"
    )


class Stopwatch:
    """Where the time of training goes; logs its advice once.

    Attributes:
        total: seconds of training.
        waiting: those in which no photo was ready.
        extracting: those of the frozen network.
    """

    def __init__(self, num_workers: int) -> None:
        """Measure a run with this ``--num_workers``."""
        self.workers = at_most_cpus(num_workers)
        self.total = self.waiting = self.extracting = 0.0
        self._is_done = False

    def waits(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; the time until each of them is there is that of waiting."""
        iterator = iter(items)
        while True:
            started = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            ready = time.perf_counter()
            self.waiting += ready - started
            yield item
            self.total += time.perf_counter() - started

    def extracts(self, work: Callable[[], Item]) -> Item:
        """What the work returns; its time is that of the frozen network."""
        started = time.perf_counter()
        result = work()
        self.extracting += time.perf_counter() - started
        return result

    def advise(self, *, is_cached: bool, at_end: bool = False) -> None:
        """Log what takes most of the time, once it can be judged, at the latest ``at_end``."""
        if self._is_done or self.total < (FIRST_SIGHT_S if at_end else LONG_ENOUGH_S):
            return
        self._is_done = True
        for text in self.findings(is_cached):
            LOG.warning("%s", text)

    def findings(self, is_cached: bool) -> list[str]:
        """One line for each thing that takes more of the time than it should."""
        cache = "" if is_cached else "--cache_features DIR, which reads each photo once"
        found = []
        if self.waiting > MUCH_WAITING * self.total:
            ways = [cache] if cache else []
            if self.workers < usable_cpus():
                ways.insert(0, f"more --num_workers than {self.workers}")
            ways = ways or ["photos on a faster disk"]
            share = self.waiting / self.total
            found.append(f"{share:.0%} of the time waits for photos: try {', or '.join(ways)}")
        if not is_cached and self.extracting > MUCH_EXTRACTING * self.total:
            found.append(
                f"{self.extracting / self.total:.0%} of the time goes into the frozen network: "
                "--cache_features DIR runs it once a photo, a smaller --image_size costs less"
            )
        return found

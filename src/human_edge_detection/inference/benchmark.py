"""Times models side by side, stage by stage, from the photo's file to the masks' pixels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image, read_size
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.runtime.sessions import choose_providers

STAGES = ("decode", "prepare", "extractor", "head", "paste")
DEVICES = ("cpu", "cuda", "tensorrt")
_BOX_SEED = 5
_ASPECT = 0.42
"""Width of a standing person's box, as a part of its height."""


@dataclass(frozen=True)
class Target:
    """One model on one provider.

    Attributes:
        name: how tables call the model.
        model: exported head, or end-to-end file.
        extractor: the network that it reads; None for an end-to-end file.
        device: ``cpu``, ``cuda`` or ``tensorrt``.
        max_rois: people that go through the head at once.
        threads: CPU threads of one operation; None for ONNX Runtime's choice.
    """

    name: str
    model: Path
    extractor: Path | None
    device: str
    max_rois: int | None = None
    threads: int | None = None

    def open(self) -> MaskPredictor:
        """The predictor itself; close it after use."""
        return MaskPredictor(
            self.model, self.extractor, device=self.device, max_rois=self.max_rois,
            threads=self.threads,
        )  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A photo's file and its people.

    Attributes:
        path: the photo.
        boxes_xyxy: float32 [N, 4], source pixels; a benchmark with fewer people takes the first.
    """

    path: Path
    boxes_xyxy: FloatArray


@dataclass(frozen=True)
class Laps:
    """What one target took for one number of people.

    Attributes:
        target: the model and its provider.
        people: boxes a photo.
        seconds: float64 [rounds, stages] in the order of ``STAGES``.
    """

    target: Target
    people: int
    seconds: NDArray[np.float64]

    @property
    def totals(self) -> NDArray[np.float64]:
        """Seconds from the photo's file to the pixels of each round, float64 [rounds]."""
        totals: NDArray[np.float64] = self.seconds.sum(axis=1)
        return totals


def present_devices() -> tuple[str, ...]:
    """The providers that work here, by the names of ``--device``."""

    def works(device: str) -> bool:
        try:
            return bool(choose_providers(device))
        except InputError:
            return False

    return tuple(device for device in DEVICES if works(device))


def make_scene(path: Path, people: int) -> Scene:
    """The photo with ``people`` boxes of a crowd's sizes, the same for every photo of its size."""
    return Scene(path, person_boxes(read_size(path), people))


def person_boxes(size_hw: tuple[int, int], people: int) -> FloatArray:
    """Boxes as a crowd has them, float32 [N, 4] xyxy inside the photo; the first N stay the same.

    Heights are spread evenly in their logarithm, from 1/12 to 3/4 of the photo's.
    """
    rng = np.random.default_rng(_BOX_SEED)
    drawn = rng.random((people, 3))
    height = size_hw[0] * 0.75 * 9 ** -drawn[:, 0]
    width = np.minimum(_ASPECT * height, size_hw[1])
    x1, y1 = drawn[:, 1] * (size_hw[1] - width), drawn[:, 2] * (size_hw[0] - height)
    return np.stack([x1, y1, x1 + width, y1 + height], axis=1).astype(np.float32)


def time_pass(predictor: MaskPredictor, scene: Scene, people: int) -> list[float]:
    """Seconds of each stage, in the order of ``STAGES``, for the scene's first people."""
    stamps = [time.perf_counter()]
    image = read_image(scene.path)
    stamps.append(time.perf_counter())
    prepared = predictor.prepare(image)
    stamps.append(time.perf_counter())
    encoded = predictor.encode(prepared)
    stamps.append(time.perf_counter())
    masks = predictor.decode(encoded, scene.boxes_xyxy[:people])
    stamps.append(time.perf_counter())
    masks.label_map()
    stamps.append(time.perf_counter())
    return [after - before for before, after in pairwise(stamps)]


def time_targets(
    targets: Sequence[Target],
    scenes: Sequence[Scene],
    counts: Sequence[int],
    rounds: int,
    warmup: int = 2,
) -> list[Laps]:
    """Every target at every number of people, all of them in turn within each round.

    A machine that slows down slows all of them: divide times of the same round. The order turns
    around from round to round, so that nobody always follows the same.

    Args:
        targets: models on providers.
        scenes: photos, taken in turn, one a round.
        counts: numbers of people, none larger than the scenes'.
        rounds: rounds that count.
        warmup: rounds before them that do not.
    """
    with ExitStack() as stack:
        predictors = [stack.enter_context(target.open()) for target in targets]
        jobs = [(which, people) for people in counts for which in range(len(targets))]
        seconds: dict[tuple[int, int], list[list[float]]] = {job: [] for job in jobs}
        for number in range(-warmup, rounds):
            scene = scenes[number % len(scenes)]
            for which, people in jobs if number % 2 else reversed(jobs):
                lap = time_pass(predictors[which], scene, people)
                if number >= 0:
                    seconds[which, people].append(lap)
    return [
        Laps(targets[which], people, np.array(seconds[which, people])) for which, people in jobs
    ]


@dataclass(frozen=True)
class Ratio:
    """How many times as long one target takes as another, round by round.

    Attributes:
        slow: the target above the line.
        fast: the target below it.
        people: boxes a photo.
        total: median of the rounds' ratios, from file to pixels.
        low: their 10th percentile.
        high: their 90th percentile.
        head: median ratio of the stage ``head`` alone.
    """

    slow: Target
    fast: Target
    people: int
    total: float
    low: float
    high: float
    head: float

    @classmethod
    def between(cls, slow: Laps, fast: Laps) -> Ratio:
        """The ratio of two targets' laps from the same rounds."""
        ratios = slow.totals / fast.totals
        head = STAGES.index("head")
        parts = slow.seconds[:, head] / fast.seconds[:, head]
        low, middle, high = (float(value) for value in np.percentile(ratios, (10, 50, 90)))
        return cls(
            slow.target, fast.target, slow.people, middle, low, high, float(np.median(parts))
        )


def pair_up(laps: Sequence[Laps]) -> list[Ratio]:
    """Every target against the first: on its own provider, or the first model's own on another.

    The first target's time stands above the line, so that more than 1 means faster than it.
    """
    by_key = {(item.target.name, item.target.device, item.people): item for item in laps}
    first = laps[0].target
    ratios = []
    for item in laps:
        target = item.target
        device = first.device if target.name == first.name else target.device
        if (target.name, target.device) != (first.name, device):
            base = by_key[first.name, device, item.people]
            ratios.append(Ratio.between(base, item))
    return ratios

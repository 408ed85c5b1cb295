"""Times models side by side, stage by stage from the photo's file to the masks, warm and cold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image, read_size
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.runtime.providers import (
    CHAINS,
    TENSORRT,
    Provider,
    choose_providers,
    tensorrt_options,
)

STAGES = ("decode", "prepare", "extractor", "head", "paste")
_BOX_SEED = 5
_ASPECT = 0.42
"""Width of a standing person's box, as a fraction of its height."""


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

    def open(self, providers: Sequence[Provider] | None = None) -> MaskPredictor:
        """An open predictor; close it after use."""
        return MaskPredictor(
            self.model, self.extractor, device=self.device, providers=providers,
            max_rois=self.max_rois, threads=self.threads,
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
        people: boxes per photo.
        seconds: float64 [rounds, stages] in the order of ``STAGES``.
    """

    target: Target
    people: int
    seconds: NDArray[np.float64]

    @property
    def totals(self) -> NDArray[np.float64]:
        """Seconds of each round from the photo's file to the masks, float64 [rounds]."""
        totals: NDArray[np.float64] = self.seconds.sum(axis=1)
        return totals


def present_devices() -> tuple[str, ...]:
    """The devices that work here."""
    found = []
    for device in CHAINS:
        with suppress(InputError):
            choose_providers(device)
            found.append(device)
    return tuple(found)


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

    A machine that slows down slows all of them: divide times of the same round. The order is
    reversed from round to round, so that no target always follows the same one. Scenes are taken in
    turn, one a round; the ``warmup`` rounds before the others do not count.
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
        slow: the target whose time is the numerator.
        fast: the target whose time is the denominator.
        people: boxes per photo.
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
        heads = float(np.median(slow.seconds[:, head] / fast.seconds[:, head]))
        low, middle, high = (float(value) for value in np.percentile(ratios, (10, 50, 90)))
        return cls(slow.target, fast.target, slow.people, middle, low, high, heads)


def pair_up(laps: Sequence[Laps]) -> list[Ratio]:
    """Every target against the first: on its own provider, or the first model's own on another.

    The first target's time is the numerator: above 1, the other target is faster.
    """
    by_key = {(item.target.name, item.target.device, item.people): item for item in laps}
    first = laps[0].target
    ratios = []
    for item, target in ((item, item.target) for item in laps):
        device = first.device if target.name == first.name else target.device
        if (target.name, target.device) != (first.name, device):
            base = by_key[first.name, device, item.people]
            ratios.append(Ratio.between(base, item))
    return ratios


@dataclass(frozen=True)
class ColdStart:
    """Seconds of the first steps of a fresh process.

    Attributes:
        label: ``first run`` with no TensorRT engine built yet, ``cached`` with one, else "".
        import_s: importing the library.
        open_s: opening the model's files, with the building of engines.
        first_s: the first photo at each number of people, in the order asked for.
    """

    label: str
    import_s: float
    open_s: float
    first_s: tuple[float, ...]

    @property
    def until_first_mask_s(self) -> float:
        """Seconds from the start of the import to the masks of the first photo."""
        return self.import_s + self.open_s + self.first_s[0]


COLD_PROGRAM = (
    "import time; started = time.perf_counter(); "
    "from human_edge_detection.inference.benchmark import run_cold; run_cold(started)"
)


def measure_cold(target: Target, photo: Path, counts: Sequence[int]) -> list[ColdStart]:
    """Cold starts of a target: one process, or two with TensorRT, without and with its engines.

    Raises:
        InputError: if the model cannot be opened.
    """
    job = {**asdict(target), "photo": photo, "counts": list(counts), "engines": None}
    if target.device != "tensorrt":
        return [_run_fresh({**job, "label": ""})]
    with TemporaryDirectory() as folder:  # an engine cache that is empty at first
        job["engines"] = folder
        return [_run_fresh({**job, "label": label}) for label in ("first run", "cached")]


def _run_fresh(job: dict[str, Any]) -> ColdStart:
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", COLD_PROGRAM], input=json.dumps(job, default=str),
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"model {job['model']} does not start in a fresh process: {lines[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return ColdStart(**{**found, "first_s": tuple(found["first_s"])})


def run_cold(started: float) -> None:
    """Do the job on standard input and print its ``ColdStart`` as JSON, in a fresh process."""
    imported, job = time.perf_counter(), json.load(sys.stdin)
    label, photo, counts, engines = (job.pop(k) for k in ("label", "photo", "counts", "engines"))
    extractor = None if job["extractor"] is None else Path(job["extractor"])
    target = Target(**{**job, "model": Path(job["model"]), "extractor": extractor})
    providers: list[Provider] | None = None
    if engines is not None:
        providers = [(TENSORRT, tensorrt_options(Path(engines))), *CHAINS["tensorrt"][1:]]
    try:
        with target.open(providers) as predictor:
            opened = time.perf_counter()
            scene = make_scene(Path(photo), max(counts))
            first = tuple(sum(time_pass(predictor, scene, people)) for people in counts)
    except InputError as error:
        sys.exit(str(error))
    print(json.dumps(asdict(ColdStart(label, imported - started, opened - imported, first))))

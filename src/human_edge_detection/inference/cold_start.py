"""What a fresh process pays before the first mask, and the most memory that it needs.

Every measurement has a process of its own: ``python -m human_edge_detection.inference.cold_start``
reads a job on standard input and writes the answer on standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from human_edge_detection.core.errors import InputError

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class ColdStart:
    """The first steps of a fresh process.

    Attributes:
        label: ``first run`` with no TensorRT engine built yet, ``cached`` with one, else ``""``.
        import_s: importing the library.
        open_s: opening the model's files, with the building of engines.
        first_s: the first photo at each number of people, seconds, in the order asked for.
        peak_mb: most memory of the process until then, MiB; None where it cannot be known.
    """

    label: str
    import_s: float
    open_s: float
    first_s: tuple[float, ...]
    peak_mb: tuple[float | None, ...]

    @property
    def until_first_mask_s(self) -> float:
        """Seconds from the start of the import to the masks of the first photo."""
        return self.import_s + self.open_s + self.first_s[0]


def measure_cold(job: dict[str, Any], counts: Sequence[int]) -> list[ColdStart]:
    """The cold start of a model: one process, or with TensorRT two, before and after the engine.

    Args:
        job: ``model``, ``extractor``, ``device``, ``max_rois``, ``threads`` and ``photo``.
        counts: numbers of people, in the order to try them; rising, for the memory to mean much.

    Raises:
        InputError: if the model cannot be opened.
    """
    if job["device"] != "tensorrt":
        return [_ask({**job, "counts": list(counts), "label": ""}, {})]
    with TemporaryDirectory() as folder:  # an engine cache that is empty at first
        cache = {"XDG_CACHE_HOME": folder}
        return [
            _ask({**job, "counts": list(counts), "label": label}, cache)
            for label in ("first run", "cached")
        ]


def _ask(job: dict[str, Any], extra: dict[str, str]) -> ColdStart:
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **extra, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    command = [sys.executable, "-m", "human_edge_detection.inference.cold_start"]
    answer = subprocess.run(
        command, input=json.dumps(job), capture_output=True, text=True, env=environment, check=False
    )
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
        raise InputError(f"model {job['model']} does not start in a fresh process: {lines[-1]}")
    found = json.loads(answer.stdout.splitlines()[-1])
    return ColdStart(
        found["label"], found["import_s"], found["open_s"], tuple(found["first_s"]),
        tuple(found["peak_mb"]),
    )  # fmt: skip


def peak_memory_mb() -> float | None:
    """Most memory that this process ever held, MiB; None where the system does not tell."""
    if _STATUS.exists():  # not ru_maxrss, which on Linux begins with the parent's
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


def _work(job: dict[str, Any]) -> ColdStart:
    started = time.perf_counter()
    from human_edge_detection.inference.benchmark import Target, make_scene, time_pass

    imported = time.perf_counter()
    extractor = Path(job["extractor"]) if job["extractor"] else None
    target = Target(
        "", Path(job["model"]), extractor, job["device"], job["max_rois"], job["threads"]
    )
    first: list[float] = []
    peaks: list[float | None] = []
    with target.open() as predictor:
        opened = time.perf_counter()
        scene = make_scene(Path(job["photo"]), max(job["counts"]))
        for people in job["counts"]:
            first.append(sum(time_pass(predictor, scene, people)))
            peaks.append(peak_memory_mb())
    return ColdStart(
        job["label"], imported - started, opened - imported, tuple(first), tuple(peaks)
    )


if __name__ == "__main__":
    try:
        print(json.dumps(asdict(_work(json.load(sys.stdin)))))
    except InputError as error:
        sys.exit(str(error))

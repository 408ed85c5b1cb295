"""A benchmark's numbers as Markdown tables and as JSON, with the machine and its versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from human_edge_detection.core import usable_cpus, version_of
from human_edge_detection.inference.benchmark import STAGES, ColdStart, Laps, Ratio, Target

_PROVIDERS = {"cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Results:
    """All that one benchmark found.

    Attributes:
        stamp: the machine and the versions.
        laps: the warm times, all targets at the first number of people, then at the next.
        ratios: targets against the first, round by round.
        cold: cold starts of each target; empty if they were not measured.
    """

    stamp: Mapping[str, str]
    laps: Sequence[Laps]
    ratios: Sequence[Ratio]
    cold: Sequence[tuple[Target, ColdStart]] = ()

    @property
    def counts(self) -> list[int]:
        """The numbers of people, in the order asked for."""
        return list(dict.fromkeys(laps.people for laps in self.laps))


def markdown(results: Results) -> str:
    """The whole benchmark as Markdown."""
    parts = [
        "### End to end, ms per photo",
        *summary_table(results),
        "",
        "From the photo's file to the masks' pixels; medians once warm. A first run is the first "
        "photo of a fresh process, with the building of TensorRT's engines.",
        "",
        "### Stage by stage, ms per photo (median)",
        *stage_table(results),
    ]
    if results.cold:
        parts += ["", "### Cold start, in a process of its own", *cold_table(results)]
    if results.ratios:
        parts += ["", "### Round by round: how many times as fast", *ratio_table(results)]
    parts += ["", "Measured on:", ""]
    parts += [f"- {name}: {text}" for name, text in results.stamp.items()]
    return "\n".join(parts)


def summary_table(results: Results) -> list[str]:
    """One line per model and provider, one column per number of people, and the speed-up.

    The speed-up is the last column's median ratio of rounds against the first line.
    """
    counts = results.counts
    rows = []
    for target in dict.fromkeys(laps.target for laps in results.laps):
        starts = [start for owner, start in results.cold if owner == target]
        name = _PROVIDERS[target.device]
        if target.device == "tensorrt" and starts:
            first = [f"{1e3 * value:.0f}" for value in starts[0].first_s]
            first[0] = f"{1e3 * (starts[0].open_s + starts[0].first_s[0]):.0f}"
            rows.append([target.name, f"{name}, first run", *first, ""])
            name = f"{name}, cached"
        own = {laps.people: laps.totals for laps in results.laps if laps.target == target}
        medians = [_ms(np.median(own[people])) for people in counts]
        rows.append([target.name, name, *medians, _speed_up(results, target)])
    header = ["model", "provider", *(f"N = {people}" for people in counts), "speed-up"]
    return _table(header, rows)


def _speed_up(results: Results, target: Target) -> str:
    base, people = results.laps[0].target, results.counts[-1]
    if target == base:
        return "1"
    own, other = (
        next(laps for laps in results.laps if laps.target == wanted and laps.people == people)
        for wanted in (target, base)
    )
    return f"{np.median(other.totals / own.totals):.2f}"


def stage_table(results: Results) -> list[str]:
    """One line per model, provider and number of people: its stages, the median and the p90."""
    rows = []
    for laps in results.laps:
        middle = [_ms(value) for value in np.median(laps.seconds, axis=0)]
        totals = [_ms(value) for value in np.percentile(laps.totals, (50, 90))]
        target = laps.target
        name = _PROVIDERS[target.device]
        rows.append([target.name, name, str(laps.people), *middle, *totals])
    return _table(["model", "provider", "N", *STAGES, "all", "all, p90"], rows)


def cold_table(results: Results) -> list[str]:
    """One line per fresh process: its seconds until the first masks."""
    rows = []
    for target, start in results.cold:
        label = f"{_PROVIDERS[target.device]} {start.label}".strip()
        seconds = (start.import_s, start.open_s, start.first_s[0], start.until_first_mask_s)
        rows.append([target.name, label, *(f"{value:.2f}" for value in seconds)])
    return _table(["model", "provider", "import s", "open s", "first photo s", "all s"], rows)


def ratio_table(results: Results) -> list[str]:
    """One line per pair and number of people: the ratio's median and spread, and the head's own."""
    rows = [
        [
            f"{_title(ratio.fast)} against {_title(ratio.slow)}", str(ratio.people),
            f"{ratio.total:.2f}", f"{ratio.low:.2f} – {ratio.high:.2f}", f"{ratio.head:.2f}",
        ]
        for ratio in results.ratios
    ]  # fmt: skip
    return _table(["pair", "N", "median", "p10 – p90", "head alone"], rows)


def as_json(results: Results) -> dict[str, Any]:
    """Everything, each round's seconds too."""
    return {
        "stamp": dict(results.stamp),
        "stages": list(STAGES),
        "warm": [
            {
                **_identity(laps.target),
                "people": laps.people,
                "median_ms": _list(1e3 * np.median(laps.seconds, axis=0)),
                "p90_ms": _list(1e3 * np.percentile(laps.seconds, 90, axis=0)),
                "total_median_ms": round(1e3 * float(np.median(laps.totals)), 3),
                "total_p90_ms": round(1e3 * float(np.percentile(laps.totals, 90)), 3),
                "rounds_ms": [_list(1e3 * row) for row in laps.seconds],
            }
            for laps in results.laps
        ],
        "cold": [
            {
                **_identity(target), "label": start.label, "import_s": round(start.import_s, 4),
                "open_s": round(start.open_s, 4), "first_s": _list(np.array(start.first_s)),
                "people": results.counts,
            }
            for target, start in results.cold
        ],
        "ratios": [
            {
                "slow": _identity(ratio.slow), "fast": _identity(ratio.fast),
                "people": ratio.people, "median": round(ratio.total, 4),
                "p10": round(ratio.low, 4), "p90": round(ratio.high, 4),
                "head_median": round(ratio.head, 4),
            }
            for ratio in results.ratios
        ],
    }  # fmt: skip


def _identity(target: Target) -> dict[str, str]:
    return {"model": target.name, "device": target.device}


def _title(target: Target) -> str:
    return f"{target.name} ({_PROVIDERS[target.device]})"


def _ms(seconds: float | np.floating[Any]) -> str:
    return f"{1e3 * float(seconds):.1f}"


def _list(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---", *("--:" for _ in header[1:])], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


PACKAGES = (
    "human-edge-detection", "onnxruntime", "onnxruntime-gpu", "tensorrt", "numpy",
    "opencv-python-headless", "pillow",
)  # fmt: skip


def machine_stamp() -> dict[str, str]:
    """What to print beside a measurement: the time, the hardware, the versions."""
    stamp = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{_cpu_name()}, {usable_cpus()} cores",
        "gpu": _gpu_name() or "none",
        "load": _load(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
    return stamp | {name: found for name in PACKAGES if (found := version_of(name))}


def _cpu_name() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _load() -> str:
    """How busy the machine is by itself; a high number explains odd times."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _gpu_name() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return "; ".join(answer.stdout.split("\n")).strip("; ") if answer.returncode == 0 else ""

"""Kills tiny runs of training and of ``predict`` at random moments, until each has ended.

    python tests/helpers/kills.py training --kills 1000 --seed 1 --folder kills/
    python tests/helpers/kills.py predict --kills 200 --seed 1 --folder kills/

A trial is one run that is killed and started again until it ends; then its files must be, byte for
byte or tensor for tensor, those of a run that nobody killed. After each kill everything that is
there must be readable, and nothing that was saved may be gone. What was counted is kept in the
folder after each trial, and the same command goes on from there. The trials in which something was
wrong are kept too.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

from forked import end, fork, import_everything, wait  # noqa: E402

KEPT = ("last.pth", "best_model.pth")
MOST_KILLS = 25
"""Kills of one run, which is then left to end."""


@dataclass
class Counts:
    """What was counted, also of earlier calls.

    Attributes:
        kills: by their signal's name.
        trials: runs that were killed and ended.
        pairs: runs beside which a second one was started in the same output.
        faults: what was wrong.
        longest: seconds after which a run is killed at the latest. It follows the runs, so that
            some three are killed for each that ends.
    """

    kills: dict[str, int] = field(default_factory=dict)
    trials: int = 0
    pairs: int = 0
    faults: list[str] = field(default_factory=list)
    longest: float = 0.0

    @property
    def killed(self) -> int:
        """All kills."""
        return sum(self.kills.values())

    def kill(self, child: int, kind: int) -> None:
        """Send a signal to a run and count it if it was in time."""
        if end(child, kind) != 0:
            name = signal.Signals(kind).name
            self.kills[name] = self.kills.get(name, 0) + 1


class Training:
    """Four epochs on three photos of noise, with moving averages; the pictures are left out."""

    signals = (signal.SIGKILL,)

    def __init__(self, folder: Path) -> None:
        from tiny_command import write_inputs

        folder.mkdir(parents=True, exist_ok=True)
        self._flags = [
            *write_inputs(folder, 3), "--batch_size", "1", "--ema", "0.9", "--epochs", "4",
            "--keep", "2", "--resume", "auto", "--head_widths", "8", "8", "8",
        ]  # fmt: skip

    def call(self, folder: Path) -> Callable[[], int]:
        """The command with its output in a folder."""
        from human_edge_detection.cli import train_main
        from human_edge_detection.training import run
        from tiny_command import outputs

        def train() -> int:  # in the child
            run.fixed_panels = lambda *_: []
            run.draw_pictures = lambda *_: {}
            return train_main([*self._flags, *outputs(folder)])

        return train

    def faults(self, folder: Path, before: dict[str, Any]) -> list[str]:
        """What cannot be read, or is lost; ``before`` is the progress after the last kill."""
        from human_edge_detection.core.errors import InputError
        from human_edge_detection.modeling.weights import load_checkpoint
        from human_edge_detection.modeling.weights_file import read_weights_file
        from human_edge_detection.runtime.onnx_graph import ModelFile
        from human_edge_detection.training.log import read_curves

        readers = {
            ".pth": load_checkpoint, ".onnx": ModelFile.read, ".safetensors": read_weights_file,
        }  # fmt: skip
        found = []
        place = folder / "checkpoints"
        for path in sorted(place.glob("[!.]*")):
            try:
                content = readers[path.suffix](path)
            except (InputError, KeyError) as error:
                found.append(f"{path.name} is unreadable: {error!r}")
                continue
            if path.name == "last.pth":
                step = content["progress"]["step"]
                if step < before.get("step", 0):
                    found.append(f"last.pth went back from step {before['step']} to {step}")
                before["step"] = step
        names = {path.name for path in place.glob("*t*.pth") if path.name in KEPT}
        if lost := before.get("names", set()) - names:
            found.append(f"{sorted(lost)} are gone")
        before["names"] = names
        try:
            read_curves(folder / "logs" / "metrics.csv")
        except Exception as error:
            found.append(f"metrics.csv is unreadable: {error!r}")
        return found

    def differences(self, folder: Path, straight: Path) -> list[str]:
        """How a run that has ended differs from the straight one."""
        from human_edge_detection.modeling.weights import load_checkpoint
        from tiny_command import same

        places = [place / "checkpoints" for place in (folder, straight)]
        names = [{path.name for path in place.iterdir()} for place in places]
        if names[0] != names[1]:
            return [f"files {sorted(names[0] ^ names[1])} are in one of the two alone"]
        found = []
        for name in sorted(names[0]):
            one, other = (place / name for place in places)
            if one.suffix != ".pth":
                if one.read_bytes() != other.read_bytes():
                    found.append(f"{name} differs")
                continue
            first, second = load_checkpoint(one), load_checkpoint(other)
            for key in ("weights", "ema", "ema_step", "optimizer", "progress"):
                if not same(first.get(key), second.get(key)):
                    found.append(f"{name}: {key} differs")
        tables = [(place / "logs" / "metrics.csv").read_bytes() for place in (folder, straight)]
        if tables[0] != tables[1]:
            found.append("metrics.csv differs")
        return found


class Predict:
    """``predict`` with five results of each of sixty photos."""

    signals = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

    def __init__(self, folder: Path) -> None:
        from PIL import Image

        from analytic_model import (
            draw_person,
            write_constant_detector,
            write_extractor,
            write_head,
        )

        photos = folder / "photos"
        photos.mkdir(parents=True, exist_ok=True)
        write_head(folder / "head.onnx")
        write_extractor(folder / "extractor.onnx")
        person = np.array([[[10, 10, 40, 50, 0.9, 0]]], np.float32)
        write_constant_detector(folder / "detector.onnx", {"output0": person})
        image, _ = draw_person((64, 48), [10, 10, 40, 50])
        for number in range(60):
            shade = np.maximum(image, np.uint8(number))
            Image.fromarray(shade).save(photos / f"p{number:04}.png")
        self._words = [
            "predict", str(photos), "--save", "overlay,coco,labels,cutouts,polygons",
            "--device", "cpu", "--threads", "1", "--model", str(folder / "head.onnx"),
            "--extractor", str(folder / "extractor.onnx"),
            "--detector", str(folder / "detector.onnx"),
        ]  # fmt: skip
        self.results: dict[str, bytes] = {}

    def call(self, folder: Path) -> Callable[[], int]:
        """The command with its output in a folder."""
        from human_edge_detection.cli import main

        return lambda: main([*self._words, "--output", str(folder / "output")])

    def faults(self, folder: Path, before: dict[str, Any]) -> list[str]:
        """Results that are not whole: each must be that of the straight run."""
        found = []
        files = files_of(folder / "output")
        for name, data in files.items():
            if name == "predictions.json":
                json.loads(data)
            elif data != self.results[name]:
                found.append(f"{name} is not the straight run's")
        if lost := before.get("names", set()) - files.keys():
            found.append(f"{sorted(lost)} are gone")
        before["names"] = set(files)
        return found

    def differences(self, folder: Path, straight: Path) -> list[str]:
        """How a run that has ended differs from the straight one."""
        one, other = (files_of(place / "output", hidden=True) for place in (folder, straight))
        names = sorted(one.keys() | other.keys())
        return [f"{name} differs" for name in names if one.get(name) != other.get(name)]


def files_of(folder: Path, hidden: bool = False) -> dict[str, bytes]:
    """The files of an output but the log, whose lines come in the order of the threads."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".predict.jsonl"]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if hidden or not path.name.startswith(".")
    }


def pair(kind: Predict, place: Path, rng: random.Random, counts: Counts) -> list[str]:
    """Two runs in one output, one of them killed; what either does but work or refuse."""
    counts.pairs += 1
    logs = [place / "first.txt", place / "second.txt"]
    children = [fork(kind.call(place), log) for log in logs]
    time.sleep(rng.uniform(0, counts.longest))
    victim = rng.choice(children)
    codes = {victim: wait(victim, 0)}
    if codes[victim] is None:
        counts.kill(victim, signal.SIGKILL)
        codes[victim] = 0
    found = []
    for child, log in zip(children, logs, strict=True):
        code, text = codes.get(child) if child in codes else wait(child, 300), log.read_text()
        if code != 0 and not (code == 2 and "in use by another run" in text):
            found.append(f"one of two runs ended with {code}: {text[-300:]}")
    return found


def trial(
    kind: Training | Predict, place: Path, straight: Path, number: int, seed: int, counts: Counts
) -> list[str]:
    """Kill one run again and again, let it end, and compare; what was wrong."""
    rng = random.Random(f"{seed} {number}")
    found, before = [], dict[str, Any]()
    if isinstance(kind, Predict) and number % 5 == 0:
        found += pair(kind, place, rng, counts) + kind.faults(place, before)
    for attempt in range(MOST_KILLS + 1):
        child = fork(kind.call(place), place / f"{attempt:02}.txt")
        moment = rng.uniform(0, counts.longest) if attempt < MOST_KILLS else 600
        if (code := wait(child, moment)) is not None:
            if code != 0:
                found.append(f"attempt {attempt} ended with {code}")
            break
        counts.kill(child, rng.choice(kind.signals))
        counts.longest *= 1.05
        found += kind.faults(place, before)
    counts.longest *= 0.85
    found += kind.faults(place, before) + kind.differences(place, straight)
    return found


def run(name: str, kills: int, seed: int, folder: Path) -> Counts:
    """Trials until there were so many kills, those of earlier calls included."""
    import_everything()
    base = folder / f"{name}-{seed}"
    state = base / "state.json"
    counts = Counts(**json.loads(state.read_text())) if state.is_file() else Counts()
    kind = Training(base / "inputs") if name == "training" else Predict(base / "inputs")
    straight = base / "straight"
    shutil.rmtree(straight, ignore_errors=True)
    straight.mkdir()
    start = time.monotonic()
    if (code := wait(fork(kind.call(straight), straight / "log.txt"), 600)) != 0:
        text = (straight / "log.txt").read_text()
        raise SystemExit(f"the straight run ended with {code}: {text}")
    counts.longest = counts.longest or time.monotonic() - start
    if isinstance(kind, Predict):
        kind.results = files_of(straight / "output")
    while counts.killed < kills:
        place = base / f"trial-{counts.trials}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if found := trial(kind, place, straight, counts.trials, seed, counts):
            counts.faults += [f"{place}: {fault}" for fault in found]
        else:
            shutil.rmtree(place)
        counts.trials += 1
        state.write_text(json.dumps(asdict(counts)))
        text = f"{counts.trials} trials, {counts.killed} kills, {len(counts.faults)} faults"
        print(text, flush=True)
    return counts


def main() -> int:
    """Run the trials and print what was counted; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("training", "predict"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    counts = run(given.what, given.kills, given.seed, given.folder.resolve())
    print(json.dumps(asdict(counts)))
    return 1 if counts.faults else 0


if __name__ == "__main__":
    sys.exit(main())

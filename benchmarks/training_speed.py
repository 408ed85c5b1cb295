"""Training speed with each switch on and off, alternated in one process.

uv run python benchmarks/training_speed.py --ann ANN --img_dir DIR --onnx_model NET.onnx \
    [--layers TENSOR …] [--photos 48] [--min_people 4] [--rounds 3] [--extractors frozen trained] \
    [--switches "one person a sample" …]

CPU time counts the loaders' workers, and other programs on the machine do not disturb it much.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from human_edge_detection.core.options import changed
from human_edge_detection.data.subset import SubsetOptions, run_subset
from human_edge_detection.training.distributed import ALONE, keep_freed_memory
from human_edge_detection.training.options import DataOptions, TrainOptions
from human_edge_detection.training.run import Run
from human_edge_detection.training.setup import assemble
from human_edge_detection.training.state import Means

AS_IT_IS = "as it is"
VARIANTS: dict[str, dict[str, Any]] = {
    "one person a sample": {"max_rois": 1},
    "--amp": {"amp": True},
    "--ema 0.998": {"ema": 0.998},
    "--gradient_accumulation 2": {"batch_size": 4, "gradient_accumulation": 2},
    "--copy_paste 0.5": {"copy_paste": 0.5},
    "--num_workers 0": {"num_workers": 0},
    "--cache_features": {"cache_features": Path("cache")},
    "--train_detector": {"train_detector": True},
}
UNFIT = {"frozen": "--train_detector", "trained": "--cache_features"}
"""The switch that does not go with each kind of extractor."""


def epoch_speed(run: Run) -> tuple[float, float, float]:
    """Photos and people a second over one epoch, people a CPU second; the loader's start counts."""
    trainer = run.trainer
    run.model.train()
    means, started, used = Means(), time.perf_counter(), cpu_seconds()
    accumulated = trainer.optim.gradient_accumulation
    parts = []
    for batch in trainer.loader(run.progress):
        parts.append(batch)
        if len(parts) == accumulated:
            trainer.train_step(parts, means, run.progress)
            parts = []
    seconds, used = time.perf_counter() - started, cpu_seconds() - used
    run.progress.epoch += 1
    return means.photos / seconds, means.rois / seconds, means.rois / used


def cpu_seconds() -> float:
    """What this process and its loaders' workers have used so far, on Linux."""
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def write_crowds(ann: Path, min_people: int, side: float, folder: Path) -> Path:
    """A copy of the annotations with the photos of at least so many people larger than ``side``."""
    whole = json.loads(ann.read_text())
    counts = Counter(
        item["image_id"]
        for item in whole["annotations"]
        if not item.get("iscrowd") and min(item["bbox"][2:]) >= side
    )
    whole["images"] = [image for image in whole["images"] if counts[image["id"]] >= min_people]
    path = folder / "crowds.json"
    path.write_text(json.dumps(whole))
    return path


def open_runs(
    arguments: argparse.Namespace, folder: Path, opened: ExitStack
) -> dict[tuple[str, str], Run]:
    """A run for each kind of extractor and each switch."""
    crowds = write_crowds(arguments.ann, arguments.min_people, DataOptions.min_roi_size, folder)
    run_subset(SubsetOptions((crowds,), folder, (arguments.photos,)))
    small = next(folder.glob(f"*_{arguments.photos}.json"))
    base = changed(
        TrainOptions(), train_ann=(small,), val_ann=small, train_img_dir=(arguments.img_dir,),
        val_img_dir=(arguments.img_dir,), onnx_model=arguments.onnx_model,
        layers=tuple(arguments.layers), image_size=tuple(arguments.image_size), device="cpu",
        checkpoint_dir=folder / "checkpoints", log_dir=folder / "logs",
    )  # fmt: skip
    kinds = {
        "frozen": base,
        "trained": changed(
            base, onnx_model="builtin", layers=(), train_extractor=True,
            train_image_size=tuple(arguments.trained_size),
        ),
    }  # fmt: skip
    return {
        (kind, name): assemble(
            changed(kinds[kind], **_placed(VARIANTS.get(name, {}), folder)), ALONE, opened
        )
        for kind in arguments.extractors
        for name in (AS_IT_IS, *arguments.switches)
        if name != UNFIT[kind]
    }


def main() -> None:
    """Print a table for each kind of extractor; ratios are to its first row, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ann", type=Path, required=True)
    parser.add_argument("--img_dir", type=Path, required=True)
    parser.add_argument("--onnx_model", default="builtin")
    parser.add_argument("--layers", nargs="*", default=())
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--min_people", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image_size", type=int, nargs=2, default=(640, 640))
    parser.add_argument("--trained_size", type=int, nargs=2, default=(384, 384))
    parser.add_argument("--extractors", nargs="+", choices=UNFIT, default=("frozen",))
    parser.add_argument("--switches", nargs="*", choices=VARIANTS, default=tuple(VARIANTS))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    keep_freed_memory()
    speeds: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    with TemporaryDirectory() as folder, ExitStack() as opened:
        runs = open_runs(arguments, Path(folder), opened)
        for turn in range(arguments.rounds + 1):
            for name, run in runs.items():
                speed = epoch_speed(run)
                if turn:  # the first is warm-up
                    speeds.setdefault(name, []).append(speed)
    table = {name: np.array(values) for name, values in speeds.items()}
    print("| extractor | switch | photos/s | people/s | people/s, ratio | people a CPU s, ratio |")
    print("|---|---|---|---|---|---|")
    for (kind, name), values in table.items():
        photos, people = np.median(values, axis=0)[:2]
        _, wall, cpu = np.median(values / table[kind, AS_IT_IS], axis=0)
        print(f"| {kind} | {name} | {photos:.2f} | {people:.2f} | {wall:.2f} | {cpu:.2f} |")


def _placed(changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The changes with their relative paths below the folder."""
    return {k: folder / v if isinstance(v, Path) else v for k, v in changes.items()}


if __name__ == "__main__":
    main()

"""Training speed with each switch on and off, alternated in one process.

uv run python benchmarks/training_speed.py --ann ANN --img_dir DIR --onnx_model NET.onnx \
    [--layers TENSOR …] [--photos 48] [--rounds 3] [--trained]
"""

from __future__ import annotations

import argparse
import logging
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from human_edge_detection.allocator import keep_freed_memory
from human_edge_detection.config import SubsetOptions, TrainOptions
from human_edge_detection.distributed import ALONE
from human_edge_detection.progress import Means
from human_edge_detection.subset import run_subset
from human_edge_detection.train import assemble
from human_edge_detection.trainer import Trainer

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one person a sample": {"max_rois": 1},
    "--amp": {"amp": True},
    "--ema 0.998": {"ema": 0.998},
    "--gradient_accumulation 2": {"batch_size": 4, "gradient_accumulation": 2},
    "--copy_paste 0.5": {"copy_paste": 0.5},
    "--num_workers 0": {"num_workers": 0},
}
FROZEN = {"--cache_features": {"cache_features": Path("cache")}}
TRAINED = {"--train_detector": {"train_detector": True}}


def epoch_speed(trainer: Trainer) -> tuple[float, float]:
    """Photos and people a second over one epoch; the loader's start is counted in."""
    trainer.model.train()
    means, started = Means(), time.perf_counter()
    accumulated = trainer.options.gradient_accumulation
    parts = []
    for batch in trainer.loader():
        parts.append(batch)
        if len(parts) == accumulated:
            trainer.train_step(parts, means)
            parts = []
    seconds = time.perf_counter() - started
    trainer.progress.epoch += 1
    return means.photos / seconds, means.rois / seconds


def main() -> None:
    """Print one row per variant: photos and people a second, as multiples of the first row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ann", type=Path, required=True)
    parser.add_argument("--img_dir", type=Path, required=True)
    parser.add_argument("--onnx_model", default="builtin")
    parser.add_argument("--layers", nargs="*", default=())
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image_size", type=int, nargs=2, default=(640, 640))
    parser.add_argument("--trained", action="store_true", help="train the extractor along")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    keep_freed_memory()
    with TemporaryDirectory() as folder, ExitStack() as opened:
        run_subset(SubsetOptions((arguments.ann,), Path(folder), (arguments.photos,)))
        small = next(Path(folder).glob(f"*_{arguments.photos}.json"))
        base = TrainOptions(
            train_ann=(small,), val_ann=small, train_img_dir=(arguments.img_dir,),
            val_img_dir=(arguments.img_dir,), onnx_model=arguments.onnx_model,
            layers=tuple(arguments.layers), image_size=tuple(arguments.image_size),
            train_extractor=arguments.trained, device="cpu",
            checkpoint_dir=Path(folder) / "checkpoints", log_dir=Path(folder) / "logs",
        )  # fmt: skip
        trainers = {
            name: assemble(replace(base, **_placed(changes, folder)), ALONE, opened).trainer
            for name, changes in {**VARIANTS, **(TRAINED if arguments.trained else FROZEN)}.items()
        }
        speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
        for turn in range(arguments.rounds + 1):
            for name, trainer in trainers.items():
                speed = epoch_speed(trainer)
                if turn:  # the first is warm-up
                    speeds[name].append(speed)
    table = {name: np.array(values) for name, values in speeds.items()}
    first = next(iter(table.values()))
    print("| switch | photos/s | people/s | photos/s, ratio | people/s, ratio |")
    print("|---|---|---|---|---|")
    for name, values in table.items():
        middle, ratio = np.median(values, axis=0), np.median(values / first, axis=0)
        print(f"| {name} | {middle[0]:.2f} | {middle[1]:.2f} | {ratio[0]:.2f} | {ratio[1]:.2f} |")


def _placed(changes: dict[str, Any], folder: str) -> dict[str, Any]:
    """The changes with their relative paths below the folder."""
    return {k: Path(folder) / v if isinstance(v, Path) else v for k, v in changes.items()}


if __name__ == "__main__":
    main()

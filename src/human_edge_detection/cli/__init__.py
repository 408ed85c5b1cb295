"""The doors: one command line for everything, and those of the root scripts."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import add_options, parse, read_options
from human_edge_detection.training import config

Options = TypeVar("Options")

COMMANDS = {
    "predict": ("PredictOptions", "cli.predict:run_predict", "cut out the people of photos"),
    "train": ("TrainOptions", "training.setup:run_train", "train a head on COCO annotations"),
    "validate": ("ValidateOptions", "cli.validate:run_validate", "score models on photos"),
    "export": ("ExportOptions", "cli.export:run_export", "write a checkpoint as ONNX"),
    "quantize": (
        "QuantizeOptions",
        "export.quantize_command:run_quantize",
        "make a head 8-bit, for CPUs",
    ),
    "check": ("CheckOptions", "cli.check:run_check", "run every stage once and report"),
    "check_data": (
        "CheckDataOptions",
        "cli.data:run_check_data",
        "find what is wrong with annotated photos",
    ),
    "benchmark": (
        "BenchmarkOptions",
        "cli.benchmark:run_benchmark",
        "time models, stage by stage",
    ),
    "stats": (
        "StatsOptions",
        "data.statistics:run_stats",
        "measure the classes of annotated photos",
    ),
    "subset": ("SubsetOptions", "data.subset:run_subset", "cut small person files from COCO's"),
}
"""Name of a command → options in :mod:`config`, ``module:function``, one line of help."""

TRAINING_PACKAGES = ("torch", "onnx", "safetensors", "tensorboard", "faster_coco_eval")
TRAINING_PACKAGES_HELP = "this command needs pip install 'human-edge-detection[train]'"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``human-edge-detection COMMAND …``; the exit code comes back."""
    parser = argparse.ArgumentParser(prog="human-edge-detection", description="Masks of people.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (options_name, _, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        add_options(command, getattr(config, options_name))
    arguments = parser.parse_args(argv)
    options_name, door, _ = COMMANDS[arguments.command]
    return _run(lambda: read_options(getattr(config, options_name), arguments), door)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Run ``main.py``."""
    return _run_script("train", argv)


def validate_main(argv: Sequence[str] | None = None) -> int:
    """Run ``validate.py``."""
    return _run_script("validate", argv)


def check_main(argv: Sequence[str] | None = None) -> int:
    """Run ``test_pipeline.py``."""
    return _run_script("check", argv)


def _run_script(command: str, argv: Sequence[str] | None) -> int:
    options_name, door, text = COMMANDS[command]
    return _run(lambda: parse(getattr(config, options_name), text, argv), door)


def _run(read: Callable[[], object], door: str) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # NumPy only multiplies small matrices here; its threads would fight those of the networks.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    module, function = door.split(":")
    try:
        options = read()
        run = getattr(importlib.import_module(f"human_edge_detection.{module}"), function)
        return int(run(options) or 0)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_PACKAGES:
            raise
        print(f"error: {error.name} is not installed: {TRAINING_PACKAGES_HELP}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130

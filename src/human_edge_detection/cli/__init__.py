"""The command line: ``human-edge-detection COMMAND``, and the commands of the root scripts."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from human_edge_detection.core import version_text
from human_edge_detection.core.errors import InputError, is_out_of_memory, one_line
from human_edge_detection.core.options import add_options, read_options

COMMANDS = {
    "predict": (
        "inference.options:PredictOptions",
        "cli.predict:run_predict",
        "cut out the people of photos",
    ),
    "train": (
        "training.options:TrainOptions",
        "training.setup:run_train",
        "train a head on COCO annotations",
    ),
    "validate": (
        "evaluation.options:ValidateOptions",
        "cli.validate:run_validate",
        "score models on photos",
    ),
    "export": ("cli.export:ExportOptions", "cli.export:run_export", "write a checkpoint as ONNX"),
    "quantize": (
        "cli.export:QuantizeOptions",
        "cli.export:run_quantize",
        "make a head 8-bit, for CPUs",
    ),
    "check": ("cli.check:CheckOptions", "cli.check:run_check", "run every stage once and report"),
    "check_data": (
        "cli.data:CheckDataOptions",
        "cli.data:run_check_data",
        "find what is wrong with annotated photos",
    ),
    "serve": (
        "serving.run:ServeOptions",
        "serving.run:run_serve",
        "answer over HTTP: photos in, masks out",
    ),
    "fleet": (
        "fleet.options:FleetOptions",
        "fleet.cluster:run_fleet",
        "cut out the people of millions of photos, on a cluster",
    ),
    "gather": (
        "fleet.options:GatherOptions",
        "fleet.gather:run_gather",
        "make COCO results, overlays and a summary of fleet's output",
    ),
    "benchmark": (
        "cli.benchmark:BenchmarkOptions",
        "cli.benchmark:run_benchmark",
        "time models, stage by stage",
    ),
    "stats": (
        "data.statistics:StatsOptions",
        "data.statistics:run_stats",
        "measure the classes of annotated photos",
    ),
    "subset": (
        "data.subset:SubsetOptions",
        "data.subset:run_subset",
        "cut small person files from COCO's",
    ),
}
"""Name of a command → ``module:class`` of its options, ``module:function``, one line of help."""

TO_LOWER = {
    "train": "lower --batch_size (--gradient_accumulation keeps the photos of a step), --max_rois "
    "or --image_size, or add --amp",
    "predict": "lower --max_rois, or --threads and --workers",
    "fleet": "lower --actors, --batch or --max_rois",
    "validate": "lower --batch_size or --num_workers",
    "quantize": "lower --photos or --max_rois",
    "benchmark": "lower --people or --max_rois",
}
"""Name of a command → what to lower where a memory is full."""

EXTRAS = {
    "train": ("torch", "onnx", "safetensors", "tensorboard", "faster_coco_eval", "matplotlib"),
    "serve": (
        "fastapi", "fastapi_offline", "starlette", "uvicorn", "python_multipart",
        "prometheus_client",
    ),
    "fleet": ("ray", "pyarrow"),
}  # fmt: skip
"""The package's extras, and the packages of each that a command may miss."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``human-edge-detection COMMAND …`` and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="human-edge-detection", description="Masks of people.")
    parser.add_argument("--version", action="version", version=version_text())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = words[0] if words else ""

    def read() -> object:
        for name, (options_class, _, text) in COMMANDS.items():
            command = commands.add_parser(name, help=text, description=text)
            if name == chosen:  # the others' options need not be loaded
                add_options(command, load(options_class))
        arguments = parser.parse_args(words)
        return read_options(load(COMMANDS[chosen][0]), arguments)

    return _run(chosen, read, lambda: load(COMMANDS[chosen][1]))


def train_main(argv: Sequence[str] | None = None) -> int:
    """Run ``main.py``."""
    return _run_script("train", argv)


def validate_main(argv: Sequence[str] | None = None) -> int:
    """Run ``validate.py``."""
    return _run_script("validate", argv)


def check_main(argv: Sequence[str] | None = None) -> int:
    """Run ``test_pipeline.py``."""
    return _run_script("check", argv)


def load(name: str) -> Any:
    """The object that ``module:name`` below the package names."""
    module, attribute = name.split(":")
    return getattr(importlib.import_module(f"human_edge_detection.{module}"), attribute)


def _run_script(command: str, argv: Sequence[str] | None) -> int:
    options_class, function, text = COMMANDS[command]

    def read() -> object:
        parser = argparse.ArgumentParser(description=text)
        parser.add_argument("--version", action="version", version=version_text())
        add_options(parser, load(options_class))
        return read_options(load(options_class), parser.parse_args(argv))

    return _run(command, read, lambda: load(function))


def _run(
    command: str, read: Callable[[], object], find: Callable[[], Callable[[object], int | None]]
) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged photos, which are named anyway
    # NumPy only multiplies small matrices here; its threads would fight those of the networks.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        options = read()
        return int(find()(options) or 0)
    except InputError as error:
        print(f"error: {_shown(str(error))}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        extra = next((name for name, own in EXTRAS.items() if error.name in own), None)
        if extra is None:
            raise
        remedy = f"this command needs pip install 'human-edge-detection[{extra}]'"
        print(f"error: {error.name} is not installed: {remedy}", file=sys.stderr)
        return 2
    except Exception as error:  # torch and ONNX Runtime each have their own
        if not is_out_of_memory(error):
            raise
        way = TO_LOWER.get(command, "use fewer or smaller photos")
        print(f"error: memory is full ({_shown(str(error)[:200])}): {way}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _shown(message: str) -> str:
    """A message on one line, but for a list, whose lines are indented."""
    return "\n".join(map(one_line, re.split(r"\n(?=  )", message)))

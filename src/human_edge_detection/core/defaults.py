"""What several commands' options share: default places, devices, and how values are checked."""

from __future__ import annotations

import os
from pathlib import Path

from human_edge_detection.core.errors import InputError

DEFAULT_TRAIN_ANN = Path("data/annotations/instances_train2017_person_only_no_crowd_100.json")
DEFAULT_VAL_ANN = Path("data/annotations/instances_val2017_person_only_no_crowd_100.json")
DEFAULT_TRAIN_IMG_DIR = Path("data/images/train2017")
DEFAULT_VAL_IMG_DIR = Path("data/images/val2017")
DEFAULT_ONNX_MODEL = Path("ext_extractor/yolov9_e_wholebody25_Nx3x640x640_featext_optimized.onnx")
DEFAULT_DATA_STATS = Path("data_analyze_full.json")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")
BUILTIN = "builtin"
"""Value of ``--onnx_model`` that names the built-in extractor."""


def usable_cpus() -> int:
    """How many CPUs this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_most_cpus(workers: int) -> int:
    """As many worker processes as asked for, at most one a CPU."""
    return min(workers, usable_cpus())


def require_at_least(options: object, name: str, least: float) -> None:
    """Refuse a smaller value of the option ``name``; None passes.

    Raises:
        InputError: naming the flag and the value.
    """
    value = getattr(options, name)
    if value is not None and value < least:
        raise InputError(f"--{name} must be at least {least}, but got {value}")

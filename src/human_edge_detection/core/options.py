"""Command line flags from a documented dataclass, so that each option is written once.

Also what the options of several commands share: default paths, devices, checks of values.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from human_edge_detection.core.errors import InputError

Options = TypeVar("Options")


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    metavar: str | None = None,
    positional: bool = False,
    required: bool = True,
) -> Any:
    """A dataclass field that is also a flag; the help text shows the default by itself.

    ``required`` concerns positional tuples: True if the parser refuses an empty one, False if the
    class does, with a message of its own.
    """
    facts = {
        "help": help, "choices": choices, "metavar": metavar, "positional": positional,
        "required": required,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=facts)


def add_options(parser: argparse.ArgumentParser, options_class: type) -> None:
    """Add one flag per field of ``options_class``: ``--name value``.

    ``tuple[T, ...]`` takes one or more values, ``tuple[T, T]`` exactly two, ``bool`` none.
    """
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        facts = field.metadata
        settings: dict[str, Any] = {"help": _help_text(facts["help"], field.default)}
        if facts["choices"]:
            settings["choices"] = facts["choices"]
        if facts["metavar"]:
            settings["metavar"] = facts["metavar"]
        settings.update(_value_settings(hints[field.name]))
        if facts["positional"]:
            if not facts["required"]:
                settings["nargs"] = "*"
            settings.setdefault("nargs", "?")
            parser.add_argument(field.name, default=field.default, **settings)
        else:
            parser.add_argument(f"--{field.name}", default=field.default, **settings)


def read_options(options_class: type[Options], arguments: argparse.Namespace) -> Options:
    """The dataclass filled from parsed arguments; its ``__post_init__`` checks the values."""
    values = {}
    for field in dataclasses.fields(options_class):  # type: ignore[arg-type]
        value = getattr(arguments, field.name)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return options_class(**values)


def parse(
    options_class: type[Options], description: str, argv: Sequence[str] | None = None
) -> Options:
    """The options of a script that has one command, read from ``argv``."""
    parser = argparse.ArgumentParser(description=description)
    add_options(parser, options_class)
    return read_options(options_class, parser.parse_args(argv))


def _help_text(text: str, default: Any) -> str:
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    is_silent = default is None or default is False or default == ()
    full = text if is_silent else f"{text} (default: {shown})"
    return full.replace("%", "%%")  # argparse formats help texts with %


def _value_settings(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if hint is bool:
        return {"action": "store_true"}
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        return {"type": parts[0], "nargs": "+" if parts[-1] is ... else len(parts)}
    return {"type": hint if hint in (int, float, str, Path) else str}


DEFAULT_TRAIN_ANN = Path("data/annotations/instances_train2017_person_only_no_crowd_100.json")
DEFAULT_VAL_ANN = Path("data/annotations/instances_val2017_person_only_no_crowd_100.json")
DEFAULT_TRAIN_IMG_DIR = Path("data/images/train2017")
DEFAULT_VAL_IMG_DIR = Path("data/images/val2017")
SAMPLE_ROOT = Path("data/sample")
DEFAULT_ONNX_MODEL = Path("ext_extractor/yolov9_e_wholebody25_Nx3x640x640_featext_optimized.onnx")
DEFAULT_DATA_STATS = Path("data_analyze_full.json")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")
BUILTIN = "builtin"
"""Value of ``--onnx_model`` that names the built-in extractor."""


def usable_cpus() -> int:
    """Number of CPUs that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_most_cpus(workers: int) -> int:
    """``workers``, but at most one per CPU."""
    return min(workers, usable_cpus())


def require_at_least(options: object, name: str, least: float) -> None:
    """Refuse a smaller value of the option ``name``; None passes.

    Raises:
        InputError: naming the flag and the value.
    """
    value = getattr(options, name)
    if value is not None and value < least:
        raise InputError(f"--{name} must be at least {least}, but got {value}")

"""Command line flags from a documented dataclass, so that each option is written once.

Also what the options of several commands share: default paths, devices, checks of values.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from human_edge_detection.core import usable_cpus
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
    least: float | None = None,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: the value without the flag; :func:`add_options` appends it to the help text.
        help: what the value means.
        choices: the values that are allowed, if only some are.
        metavar: name of the value in ``--help``.
        positional: whether it is an argument without dashes.
        required: of positional tuples, whether the parser refuses an empty one; the class may
            refuse it with a longer message instead.
        least: the smallest value that :func:`require_least` accepts.
    """
    facts = {
        "help": help, "choices": choices, "metavar": metavar, "positional": positional,
        "required": required, "least": least,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=facts)


def option_of(options_class: type, name: str) -> Any:
    """The same option in another class, with its default, help text and checks."""
    known = {field.name: field for field in dataclasses.fields(options_class)}[name]
    return dataclasses.field(default=known.default, metadata=known.metadata)


def group(options_class: type[Options], title: str) -> Any:
    """A dataclass field that holds the options of ``options_class``.

    Their flags are named as if they were fields of the outer class, and stand in ``--help`` under
    the title.
    """
    return dataclasses.field(default_factory=options_class, metadata={"title": title})


def add_options(parser: argparse._ActionsContainer, options_class: type) -> None:
    """Add one flag per field of ``options_class``: ``--name value``.

    ``tuple[T, ...]`` takes one or more values, ``tuple[T, T]`` exactly two, ``bool`` none; a
    :func:`group` adds the flags of its class.
    """
    hints = typing.get_type_hints(options_class)
    for field in dataclasses.fields(options_class):
        facts = field.metadata
        if "title" in facts:
            add_options(parser.add_argument_group(facts["title"]), hints[field.name])
            continue
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
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(arguments).items()}
    return build_options(options_class, values)


def option_fields(options_class: type) -> list[dataclasses.Field[Any]]:
    """The fields of an options class that are flags, those of its groups included."""
    hints = typing.get_type_hints(options_class)
    found: list[dataclasses.Field[Any]] = []
    for field in dataclasses.fields(options_class):
        found += option_fields(hints[field.name]) if "title" in field.metadata else [field]
    return found


def option_values(options: object) -> dict[str, Any]:
    """The value of each flag by its name, without groups."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        values |= option_values(value) if "title" in field.metadata else {field.name: value}
    return values


def build_options(options_class: type[Options], values: Mapping[str, Any]) -> Options:
    """Options with the values that are given by flag name, and defaults for the others.

    Names that are no flags of the class are passed over.
    """
    hints = typing.get_type_hints(options_class)
    given = {}
    for field in dataclasses.fields(options_class):  # type: ignore[arg-type]
        if "title" in field.metadata:
            given[field.name] = build_options(hints[field.name], values)
        elif field.name in values:
            given[field.name] = values[field.name]
    return options_class(**given)


def changed(options: Options, **flags: Any) -> Options:
    """The options with other values of some flags, those of groups included.

    Raises:
        TypeError: if there is no such flag.
    """
    values = option_values(options)
    if unknown := flags.keys() - values.keys():
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
    return build_options(type(options), {**values, **flags})


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
DEFAULT_ONNX_MODEL = Path("ext_extractor/yolov9_e_wholebody25_Nx3x640x640_featext_optimized.onnx")
DEFAULT_DATA_STATS = Path("data_analyze_full.json")
SAMPLE_ROOT = Path("data/sample")
"""Where the drawn sample set goes if there are no annotations."""
DEVICES = ("auto", "cpu", "cuda", "tensorrt")
BUILTIN = "builtin"
"""Value of ``--onnx_model`` and ``--init_from`` that names the model that ships."""
FRESH = "fresh"
"""Value of ``--init_from`` that names a new head."""


def at_most_cpus(workers: int) -> int:
    """``workers``, but at most one per CPU."""
    return min(workers, usable_cpus())


def require_least(options: object) -> None:
    """Refuse values below the ``least`` of their :func:`option`, in groups too; None passes.

    Raises:
        InputError: naming the flag and the value.
    """
    values = option_values(options)
    for field in option_fields(type(options)):
        value, least = values[field.name], field.metadata["least"]
        if least is not None and value is not None and value < least:
            raise InputError(f"--{field.name} must be at least {least}, but got {value}")

"""The exception that commands print without a traceback, and values in its messages."""

from __future__ import annotations

import math


class InputError(ValueError):
    """Wrong input; the message names the file or parameter, its value and the way out."""


class TooManyPixels(InputError):
    """A photo that is larger than the limit, found before anything is decoded."""


def shown(value: object, limit: int = 80) -> str:
    """A value of a file as an error message can hold it: one line of at most ``limit`` characters.

    Text is quoted, and its control characters are escaped.
    """
    if isinstance(value, str | bytes | list | tuple):
        value = value[:limit]  # before anything of any length is written out
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, endless nesting
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def check_number(name: str, value: object) -> None:
    """Refuse the parameter ``name`` if it is no finite number.

    Raises:
        InputError: naming the parameter and the value.
    """
    try:
        is_number = math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, OverflowError):
        is_number = False
    if not is_number:
        raise InputError(f"{name} must be a finite number, but got {shown(value)}")


def check_fraction(name: str, value: float) -> None:
    """Refuse the parameter ``name`` if it is no number from 0 to 1.

    Raises:
        InputError: naming the parameter and the value.
    """
    check_number(name, value)
    if not 0 <= value <= 1:
        raise InputError(f"{name} must be between 0 and 1, but got {value}")


def one_line(text: str, limit: int = 600) -> str:
    """A message on one line, control characters escaped, cut in its middle to ``limit``."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} … {text[-limit // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_FULL = ("out of memory", "not enough memory", "can't allocate memory", "Failed to allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, torch or ONNX Runtime means that a memory is full."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _FULL)

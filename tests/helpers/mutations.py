"""Damaged copies of files: bytes changed at random, and JSON with values that nobody expects."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

EDGES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00" * 8, b"\x7f\xff\xff\xff")
NUMBERS = (
    b"-1", b"0", b"1e39", b"1e308", b"-1e999", b"NaN", b"Infinity", b"9223372036854775808",
    b"4294967296", b"0.1", b'"x"', b"null", b"[]", b"{}", b"true", b"9" * 5000,
)  # fmt: skip

_DIGITS = "5000 digits"
_DEEP = "20000 brackets"
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2, 0.5, 1e39, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**63, 2**70,
    10**400, "", "x", "7", "a" * 3000, "../../x", "/etc/passwd", "C:\\x", "a\0b", "line\nbreak",
    "\ud800", [], {}, [[]], [1, 2, 3, 4], [[1e39] * 6], [5], {"counts": "o", "size": [64, 64]},
    {"counts": [4096], "size": [64, 64]}, {"id": 1}, _DIGITS, _DEEP,
)  # fmt: skip


def mutated(data: bytes, source: random.Random, is_text: bool = False) -> bytes:
    """One to four changes: cut, flipped, overwritten, doubled, removed; in text also numbers.

    Args:
        data: a sound file.
        source: chooses the changes.
        is_text: the file is text with numbers.
    """
    if is_text and source.random() < 0.6:
        try:
            return mutated_json(json.loads(data), source)
        except ValueError:
            pass  # CSV and the like
    out = bytearray(data)
    kinds = [_cut, _flip, _overwrite, _double, _remove] + (
        [_number] * 5 + [_nest] if is_text else []
    )
    for _ in range(source.randint(1, 4)):
        if out:
            source.choice(kinds)(out, source)
    return bytes(out)


def mutated_json(content: Any, source: random.Random) -> bytes:
    """The JSON of ``content`` with one to three of its values replaced, removed or doubled."""
    content = [copy.deepcopy(content)]
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        places = list(_places(content))
        holder, key = source.choice(places)
        how = source.random()
        if how < 0.8 or len(places) == 1:
            holder[key] = copy.deepcopy(source.choice(VALUES))
        elif how < 0.9:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[source.choice(("id", "x", "segmentation"))] = copy.deepcopy(holder[key])
        if not content:
            content = [None]
    text = json.dumps(content[0])
    text = text.replace(f'"{_DIGITS}"', "9" * 5000).replace(f'"{_DEEP}"', "[" * 20_000)
    return text.encode()


def _places(value: Any) -> Any:
    """Each value inside a JSON value, as the list or object that holds it and its key there."""
    keys = range(len(value)) if isinstance(value, list) else list(value)
    for key in keys:
        yield value, key
        if isinstance(value[key], list | dict):
            yield from _places(value[key])


def _place(out: bytearray, source: random.Random) -> int:
    """A place, more often near the file's begin and end, where headers and lists are."""
    where = source.random()
    if where < 0.4:
        return source.randrange(min(len(out), 512))
    if where < 0.6:
        return source.randrange(max(0, len(out) - 512), len(out))
    return source.randrange(len(out))


def _cut(out: bytearray, source: random.Random) -> None:
    del out[_place(out, source) :]


def _flip(out: bytearray, source: random.Random) -> None:
    for _ in range(source.choice((1, 1, 4, 32))):
        out[_place(out, source)] ^= 1 << source.randrange(8)


def _overwrite(out: bytearray, source: random.Random) -> None:
    at, value = _place(out, source), source.choice(EDGES)
    out[at : at + len(value)] = value


def _double(out: bytearray, source: random.Random) -> None:
    at, length = _place(out, source), source.choice((1, 16, 256))
    out[at:at] = out[at : at + length]


def _remove(out: bytearray, source: random.Random) -> None:
    at = _place(out, source)
    del out[at : at + source.choice((1, 4, 64))]


def _number(out: bytearray, source: random.Random) -> None:
    """Replace one number of a text."""
    digits = [i for i, byte in enumerate(out) if 48 <= byte <= 57]
    if not digits:
        return
    start = end = source.choice(digits)
    allowed = b"0123456789.-+eE"
    while start > 0 and out[start - 1] in allowed:
        start -= 1
    while end < len(out) and out[end] in allowed:
        end += 1
    out[start:end] = source.choice(NUMBERS)


def _nest(out: bytearray, source: random.Random) -> None:
    at = _place(out, source)
    out[at:at] = source.choice((b"[", b'{"a":', b'"\\u0000"')) * source.choice((1, 10, 20_000))

"""Reads a JSON file of any size value by value; of the file only a window is in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

BLOCK_BYTES = 1 << 20
_MARGIN = 16
"""Characters after a value that show that it does not go on: ``1`` may be cut from ``1.5e-300``."""

_BLANK = " \t\n\r"
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _no_float(_: str) -> None:
    return None


EXACT = json.JSONDecoder()
SKIM = json.JSONDecoder(parse_float=_no_float)
"""Reads fractions as None, in less than half the time: to see what a value is, not all of it."""


class JsonStream:
    """The values of a JSON file, one after the other; each is read as :mod:`json` would.

    Every method raises ValueError, with the place, where the file is not JSON.

    Args:
        file: the file, opened in binary, at its start.

    Attributes:
        offset: bytes from the start of the file to where reading stands.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = file.read(4)
        self._encoding, self.offset = _encoding(head)
        file.seek(self.offset)
        self._decoder = codecs.getincrementaldecoder(self._encoding)("surrogatepass")
        self._text, self._at = "", 0
        self._is_narrow = False  # True where each character of the window is a byte

    def peek(self) -> str:
        """The next character that is not white space; ``""`` at the end."""
        while (found := self._text[self._at : self._at + 1]) in _BLANK:  # so is ""
            self._move_to(_space_end(self._text, self._at))
            if self._at == len(self._text) and not self._fill():
                return ""
        return found

    def take(self, wanted: str) -> None:
        """Pass over one character, which must be ``wanted``; ``""`` is the end of the file."""
        if self.peek() != wanted:
            raise self._error(f"Expecting {wanted!r}" if wanted else "Extra data", self._at)
        self._move_to(self._at + len(wanted))

    def value(self, decoder: json.JSONDecoder = EXACT) -> Any:
        """The value that comes next, whole."""
        self.peek()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._may_be_cut(error) or not self._fill():
                    raise self._error(error.msg, error.pos) from None
            else:
                if end + _MARGIN <= len(self._text) or not self._fill():
                    self._move_to(end)
                    return value

    def skip(self) -> None:
        """Pass over the value that comes next; of an array only one element is in memory."""
        if self.peek() == "[":
            for _ in self.elements(SKIM):
                pass
        else:
            self.value(SKIM)

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; read or skip each one's value before the next."""
        self.take("{")
        is_first = True
        while self.peek() != "}":
            if not is_first:
                self.take(",")
            if self.peek() != '"':
                raise self._error("Expecting property name enclosed in double quotes", self._at)
            key = str(self.value())
            self.take(":")
            yield key
            is_first = False
        self.take("}")

    def elements(self, decoder: json.JSONDecoder = EXACT) -> Iterator[tuple[Any, int, int]]:
        """Each element of the array that comes next, and the bytes where it starts and ends."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            self.peek()
            start, value = self.offset, self.value(decoder)
            yield value, start, self.offset
            comma = _COMMA.match(self._text, self._at)
            if comma is not None:  # a million times
                self._move_to(comma.end())
            elif self.peek() == "]":
                self.take("]")
                return
            else:
                self.take(",")

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the window's end, rather than the file, may be at fault."""
        return error.pos + _MARGIN > len(self._text) or error.msg.startswith("Unterminated")

    def _fill(self) -> bool:
        """Make the window longer, what was read falling out of it; False at the file's end."""
        rest = self._text[self._at :]
        while block := self._file.read(max(BLOCK_BYTES, len(rest))):
            if more := self._decoder.decode(block):
                self._text, self._at = rest + more, 0
                self._is_narrow = self._encoding == "utf-8" and self._text.isascii()
                return True
        self._decoder.decode(b"", final=True)  # raises for half a character
        return False

    def _move_to(self, end: int) -> None:
        width = end - self._at
        self.offset += width if self._is_narrow else self._width(end)
        self._at = end

    def _width(self, end: int) -> int:
        """Bytes from where reading stands to a place in the window."""
        return len(self._text[self._at : end].encode(self._encoding, "surrogatepass"))

    def _error(self, text: str, position: int) -> ValueError:
        return ValueError(f"{text} at byte {self.offset + self._width(position)}")


def _space_end(text: str, start: int) -> int:
    found = _SPACE.match(text, start)
    return found.end() if found else start


def _encoding(head: bytes) -> tuple[str, int]:
    """The text's encoding and the length of the byte order mark before it."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    return json.detect_encoding(head), 0

"""Many short texts in one piece of memory: no objects that forked workers would copy by looking."""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class PackedTexts:
    """A growing list of byte strings, kept end to end."""

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> bytes:
        return bytes(self._bytes[self._ends[row] : self._ends[row + 1]])

    def append(self, text: bytes) -> None:
        """Add a text at the end."""
        self._bytes += text
        self._ends.append(len(self._bytes))

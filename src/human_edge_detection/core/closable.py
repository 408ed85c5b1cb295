"""What holds sessions or files, for use in a ``with`` statement."""

from __future__ import annotations

from typing import TypeVar

Self = TypeVar("Self", bound="Closable")


class Closable:
    """Something that is closed after use, at the latest by the end of a ``with`` block."""

    def close(self) -> None:
        """Free what it holds."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        """The object itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

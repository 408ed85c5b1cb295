"""The one exception that the commands print without a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """A fault in what the user gave: names the file or flag, the value and the way out."""

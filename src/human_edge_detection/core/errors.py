"""The exception that commands print without a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong input; the message names the file or parameter, its value and the way out."""

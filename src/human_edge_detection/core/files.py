"""Writes files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from human_edge_detection.core.errors import InputError


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    Missing folders are made.

    Raises:
        InputError: if it cannot be written; the old file, if any, is still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if os.path.exists(partial):
            partial.unlink()

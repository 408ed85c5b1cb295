"""Writes files that are whole or not there."""

from __future__ import annotations

import os
import stat
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


def check_regular(path: Path, what: str) -> None:
    """Refuse a path that is no regular file: a folder, a pipe or a device would block or not end.

    Args:
        path: the path; links are followed.
        what: what is expected there, for the message: "image", "model".

    Raises:
        InputError: naming the path and what it is.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what} file") from None
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error.strerror}") from error
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)[:200]!r} is no usable path: {reason}") from error
    if stat.S_ISDIR(mode):
        article = "an" if what[0] in "aeiou" else "a"
        raise InputError(f"{path} is a folder, not {article} {what} file")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is no regular file but a pipe, device or socket: name a file")

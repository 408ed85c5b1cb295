"""Files on disk: written whole or not at all, only regular ones read, with names made plain."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from human_edge_detection.core.errors import InputError, shown

LONGEST_SUFFIX = 16
"""Characters of an ending that a temporary file keeps, for writers that go by it."""

PARTIAL_NAME = re.compile(r"\.[0-9a-f]{16}\.part(\..*)?")
"""Names of temporary files, which only a killed process leaves behind."""

_DRIVE = re.compile(r"^(?:[A-Za-z]:)+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """An empty temporary file beside ``path`` to write to; it then replaces ``path``.

    A reader sees the old file or the whole new one. After an error, in the block or here, the old
    file is unchanged and nothing is left behind. Missing folders are made. The temporary name is
    random, short and of the same ending, and no link of that name is followed.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix if len(path.suffix) <= LONGEST_SUFFIX else ""
    partial = path.with_name(f".{secrets.token_hex(8)}.part{suffix}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(partial, flags, 0o666))
    try:
        yield partial
        handle = os.open(partial, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """:func:`atomic_path` that raises ``InputError``, for paths that users name.

    Raises:
        InputError: if it cannot be written, also for an OSError in the block.
    """
    try:
        with atomic_path(path) as partial:
            yield partial
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write a file whole or not at all; see :func:`atomic_path`.

    Raises:
        InputError: if it cannot be written; the old file, if any, is still there.
    """
    with replacing(Path(path)) as partial:
        partial.write_bytes(data)


def remove_file(path: Path) -> None:
    """Delete a file, or do nothing if it is gone.

    Raises:
        InputError: if it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be deleted: {error.strerror or error}") from error


def remove_partials(folder: Path) -> None:
    """Delete the temporary files of killed processes in a folder and the folders in it."""
    for place, _, names in os.walk(folder):
        for name in filter(PARTIAL_NAME.fullmatch, names):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(place, name))


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


def plain_name(name: str) -> str:
    """A name out of an archive, a pattern or a file as a path that stays below its folder.

    It has forward slashes, is relative, and has neither ``.``, ``..`` or empty parts, nor a drive
    letter, nor control characters, for which it has ``_``: ``../../a//b.jpg`` becomes ``a/b.jpg``.

    Raises:
        InputError: if nothing is left of it.
    """
    kept: list[str] = []
    for part in posixpath.normpath(name.replace(os.sep, "/")).split("/"):
        part = part if kept else _DRIVE.sub("", part)
        if part not in ("", ".", ".."):
            kept.append(_CONTROL.sub("_", part))
    if not kept:
        raise InputError(f"{shown(name)} is no name of a file")
    return "/".join(kept)

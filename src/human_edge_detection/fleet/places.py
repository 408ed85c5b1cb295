"""Files by their path or URI, on disk or in a bucket, through pyarrow.

A place is text: a path, or ``s3://``, ``gs://``, ``hdfs://`` and whatever else pyarrow opens.
Credentials, regions and endpoints are those of the environment.
"""

from __future__ import annotations

import functools
import io
import os
import posixpath
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.files import write_atomically

if TYPE_CHECKING:
    from pyarrow import fs

_OBJECT_STORES = ("s3", "gcs", "abfs")
"""File systems, by pyarrow's names, in which a file appears when it is whole."""


def is_local(place: str) -> bool:
    """Whether a place is a path on this machine."""
    return "://" not in place or place.startswith("file://")


def full(place: str) -> str:
    """The place as it is written down: an absolute path, or the URI."""
    if is_local(place):
        return os.path.abspath(place.removeprefix("file://"))
    return place.rstrip("/")


def below(place: str, *names: str) -> str:
    """A place inside a folder."""
    return posixpath.join(place, *names)


@functools.cache
def _file_system(root: str) -> tuple[fs.FileSystem, str]:
    """The file system of ``scheme://host/``, or of this machine, and the root's path there."""
    from pyarrow import fs

    if not root:
        return fs.LocalFileSystem(), "/"
    try:
        system, path = fs.FileSystem.from_uri(root)
    except (OSError, ValueError) as error:
        raise InputError(f"{root} cannot be opened: {one_line(str(error), 300)}") from error
    return system, path


def _located(place: str) -> tuple[fs.FileSystem, str]:
    """The file system of a place, and its path there."""
    if is_local(place):
        return _file_system("")[0], full(place)
    scheme, _, rest = place.partition("://")
    host, _, path = rest.partition("/")
    system, root = _file_system(f"{scheme}://{host}/")
    return system, posixpath.join(root, path) if path else root


@contextmanager
def _named(place: str, what: str) -> Iterator[None]:
    """Make an ``OSError`` in the block an ``InputError`` that names the place.

    Raises:
        InputError: for an error of the file system.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{place} does not exist: check the name") from error
    except (OSError, ValueError) as error:  # pyarrow's own are of both
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or one_line(str(error), 300)
        raise InputError(f"{place} {what}: {reason}") from error


def is_folder(place: str) -> bool:
    """Whether a place is a folder, or the beginning of names in a bucket.

    Raises:
        InputError: there is nothing, or it cannot be asked for.
    """
    from pyarrow import fs

    system, path = _located(place)
    with _named(place, "cannot be read"):
        kind = system.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise InputError(f"{place} does not exist: check the name")
    return bool(kind == fs.FileType.Directory)


def files_in(folder: str, recursive: bool = False) -> Iterator[str]:
    """The files of a folder, sorted by name, without hidden ones; folders that are links stay shut.

    Raises:
        InputError: it cannot be read.
    """
    from pyarrow import fs

    system, path = _located(folder)
    with _named(folder, "cannot be read"):
        entries = system.get_file_info(fs.FileSelector(path))
    for entry in sorted(entries, key=lambda entry: str(entry.base_name)):
        place = below(folder, entry.base_name)
        if entry.base_name.startswith("."):
            continue
        if entry.type == fs.FileType.File:
            yield place
        elif recursive and entry.type == fs.FileType.Directory:
            if not (is_local(folder) and os.path.islink(place)):
                yield from files_in(place, recursive)


def names_in(folder: str) -> list[str]:
    """The names of the files in a folder; none if there is no folder."""
    from pyarrow import fs

    system, path = _located(folder)
    with _named(folder, "cannot be read"):
        entries = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return [entry.base_name for entry in entries if entry.type == fs.FileType.File]


def exists(place: str) -> bool:
    """Whether there is a file."""
    from pyarrow import fs

    system, path = _located(place)
    with _named(place, "cannot be read"):
        return bool(system.get_file_info(path).type == fs.FileType.File)


def open_file(place: str, ahead: int = 1 << 16) -> io.BufferedReader:
    """A file to read, which can seek.

    Args:
        place: the file.
        ahead: bytes that are fetched at once.

    Raises:
        InputError: there is none, or it may not be read.
    """
    system, path = _located(place)
    with _named(place, "cannot be read"):
        return io.BufferedReader(system.open_input_file(path), ahead)


def read(place: str, most: int) -> bytes:
    """All bytes of a file.

    Raises:
        InputError: it cannot be read, or has more than ``most`` bytes.
    """
    system, path = _located(place)
    with _named(place, "cannot be read"), system.open_input_file(path) as file:
        if (size := file.size()) > most:
            raise InputError(f"{place} has {size} bytes, more than the {most} that are read")
        return bytes(file.read())


def write(place: str, data: bytes) -> None:
    """Write a file whole or not at all; folders are made.

    Raises:
        InputError: it cannot be written.
    """
    if is_local(place):
        write_atomically(Path(full(place)), data)
        return
    system, path = _located(place)
    with _named(place, "cannot be written"):
        if system.type_name in _OBJECT_STORES:
            with system.open_output_stream(path) as file:
                file.write(data)
            return
        folder = posixpath.dirname(path)
        partial = posixpath.join(folder, f".{secrets.token_hex(8)}.part")
        system.create_dir(folder, recursive=True)
        with system.open_output_stream(partial) as file:
            file.write(data)
        system.move(partial, path)


def remove(place: str) -> None:
    """Delete a file, if it is there."""
    system, path = _located(place)
    with _named(place, "cannot be deleted"):
        try:
            system.delete_file(path)
        except FileNotFoundError:
            return

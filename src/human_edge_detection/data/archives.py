"""Lists what zip and tar files hold and where, and reads one member without unpacking the rest."""

from __future__ import annotations

import os
import posixpath
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from human_edge_detection.core.errors import InputError

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar"})
_PACKED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst")
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_TAR_BLOCK = 512
_MOST_OPEN = 32


class Member(NamedTuple):
    """Where a file lies in an archive.

    Attributes:
        name: its path there, with forward slashes.
        offset: its first byte in a tar, that of its local header in a zip.
        stored: bytes that it takes there.
        is_zip: whether the archive is a zip.
        is_deflated: whether the bytes are compressed.
        crc: check sum of the file; 0 in a tar, which has none.
        size: bytes of the file.
    """

    name: str
    offset: int
    stored: int
    is_zip: bool
    is_deflated: bool
    crc: int
    size: int


def list_members(path: Path) -> Iterator[Member]:
    """The files in a zip or tar archive.

    Raises:
        InputError: if it is none, ends too early, or is compressed or encrypted so that its
            members cannot be read one by one.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        if path.suffix.lower() == ".zip" or start[:2] == b"PK":
            yield from _zip_members(path, start)
        elif path.suffix.lower() in _PACKED:
            raise InputError(
                f"{path} is compressed as a whole, so that no photo can be read by itself: "
                "unpack it to a plain .tar"
            )
        else:
            yield from _tar_members(path)
    except OSError as error:
        raise InputError(f"archive {path} cannot be read: {error.strerror or error}") from error


def _zip_members(path: Path, start: bytes) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        cut = "ends too early: copy it again" if start[:2] == b"PK" else "is not a zip archive"
        raise InputError(f"archive {path} {cut} ({error})") from error
    for info in infos:
        if info.flag_bits & 1:
            raise InputError(
                f"archive {path} is encrypted ({info.filename}): pack it again without a password"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"archive {path} packs {info.filename} by method {info.compress_type}: only stored "
                "and deflated members can be read, pack it again with zip -0"
            )
        yield Member(
            _plain(info.filename), info.header_offset, info.compress_size, True,
            info.compress_type == zipfile.ZIP_DEFLATED, info.CRC, info.file_size,
        )  # fmt: skip


def _tar_members(path: Path) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:") as archive:
            while (info := archive.next()) is not None:
                if info.isreg() and not info.issparse():
                    yield Member(
                        _plain(info.name), info.offset_data, info.size, False, False, 0, info.size
                    )
                # It keeps every entry, a kilobyte each.
                archive.members.clear()  # type: ignore[attr-defined]
            end = archive.offset
    except (tarfile.TarError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        what = "ends too early: copy it again" if "unexpected end" in str(error) else (
            "is neither a zip nor a plain tar archive"
        )  # fmt: skip
        raise InputError(f"archive {path} {what} ({error})") from error
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):  # of which tarfile itself says nothing
            raise InputError(f"archive {path} ends too early or is damaged: copy it again")


def _plain(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def read_member(file: BinaryIO, member: Member, path: Path) -> bytes:
    """The bytes of one file of an archive.

    Args:
        file: the open archive.
        member: what to read.
        path: the archive, for messages.

    Raises:
        InputError: if they are not there or are damaged.
    """
    where = f"archive {path}, member {member.name}"
    try:
        file.seek(member.offset)
        if member.is_zip:
            mark, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if mark != b"PK\x03\x04":
                raise InputError(f"{where}: is not where the list says, the archive has changed")
            file.seek(name_length + extra_length, 1)
        data = file.read(member.stored)
        if len(data) < member.stored:
            raise InputError(f"{where}: ends too early, copy the archive again")
        if member.is_deflated:
            data = zlib.decompress(data, -zlib.MAX_WBITS)
    except (OSError, struct.error, zlib.error) as error:
        raise InputError(f"{where}: cannot be read ({error})") from error
    if member.is_zip and zlib.crc32(data) != member.crc:
        raise InputError(f"{where}: is damaged (its check sum is wrong), copy the archive again")
    return data


class OpenArchives:
    """The archives that this process has open; others, also forked ones, open their own.

    A file object that two processes share has one place to read at between them.
    """

    def __init__(self) -> None:
        self._forget()

    def __reduce__(self) -> tuple[type[OpenArchives], tuple[()]]:
        return OpenArchives, ()

    def _forget(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._files: dict[Path, BinaryIO] = {}

    @contextmanager
    def file(self, path: Path) -> Iterator[BinaryIO]:
        """An open archive, of which no other thread reads meanwhile."""
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            if path not in self._files:
                if len(self._files) >= _MOST_OPEN:
                    self._files.pop(next(iter(self._files))).close()
                try:
                    self._files[path] = open(path, "rb")
                except OSError as error:
                    text = f"archive {path} cannot be read: {error.strerror or error}"
                    raise InputError(text) from error
            yield self._files[path]

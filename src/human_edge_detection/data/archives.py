"""Lists what zip and tar files hold and where, and reads one member without unpacking the rest."""

from __future__ import annotations

import logging
import os
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.files import check_regular, plain_name

_LOGGER = logging.getLogger(__name__)
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar"})
PACKED_SUFFIXES = frozenset({".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst"})
"""Endings of archives that are compressed as a whole, which are refused."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_TAR_BLOCK = 512
_MOST_OPEN = 32
_FAR = 1 << 60
MAX_MEMBER_BYTES = 512 << 20
"""Bytes of the largest member that is read, unpacked."""

_LIST_ERRORS = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError, IndexError,
    KeyError, TypeError, AttributeError, OverflowError, AssertionError, RecursionError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""Exceptions of zipfile and tarfile on damaged archives, besides OSError."""


class Member(NamedTuple):
    """Where a file lies in an archive.

    Attributes:
        name: its path there, made plain: with forward slashes and without ``..``.
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
    """The files in a zip or tar archive on disk; the rest is as of :func:`members_of`."""
    check_regular(path, "archive")
    try:
        with open(path, "rb") as file:
            yield from members_of(file, str(path))
    except OSError as error:
        raise InputError(f"archive {path} cannot be read: {error.strerror or error}") from error


def members_of(file: BinaryIO, archive: str) -> Iterator[Member]:
    """The files in an open zip or tar archive; those without usable names are left out and logged.

    Args:
        file: the archive, at its beginning; it must be able to seek.
        archive: its name, for its ending and for messages.

    Raises:
        InputError: if it is none, ends too early, or is compressed or encrypted so that its
            members cannot be read one by one.
        OSError: if it cannot be read.
    """
    suffix, start = PurePath(archive).suffix.lower(), file.read(4)
    if suffix == ".zip" or start[:2] == b"PK":
        yield from _zip_members(file, archive, start)
    elif suffix in PACKED_SUFFIXES:
        raise InputError(
            f"{archive} is compressed as a whole, so that no photo can be read by itself: "
            "unpack it to a plain .tar"
        )
    else:
        file.seek(0)
        yield from _tar_members(file, archive)


def _zip_members(file: BinaryIO, path: str, start: bytes) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except _LIST_ERRORS as error:
        cut = "ends too early: copy it again" if start[:2] == b"PK" else "is not a zip archive"
        raise InputError(f"archive {path} {cut} ({error!s:.200})") from error
    for info in infos:
        if info.flag_bits & 1:
            raise InputError(
                f"archive {path} is encrypted ({_short(info.filename)}): pack it again without a "
                "password"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"archive {path} packs {_short(info.filename)} by method {info.compress_type}: "
                "only stored and deflated members can be read, pack it again with zip -0"
            )
        if name := _plain(info.filename, path):
            yield Member(
                name, _whole(info.header_offset), _whole(info.compress_size), True,
                info.compress_type == zipfile.ZIP_DEFLATED, info.CRC, _whole(info.file_size),
            )  # fmt: skip


def _tar_members(file: BinaryIO, path: str) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            place = -1
            while (info := archive.next()) is not None:
                if archive.offset <= place:  # a negative size would be read for ever
                    raise EOFError("its entries go backwards")
                place = archive.offset
                if info.isreg() and not info.issparse() and (name := _plain(info.name, path)):
                    size = _whole(info.size)
                    yield Member(name, _whole(info.offset_data), size, False, False, 0, size)
                # It keeps every entry, a kilobyte each.
                archive.members.clear()  # type: ignore[attr-defined]
            end = archive.offset
    except _LIST_ERRORS as error:
        what = "ends too early: copy it again" if "unexpected end" in str(error) else (
            "is neither a zip nor a plain tar archive"
        )  # fmt: skip
        raise InputError(f"archive {path} {what} ({error!s:.200})") from error
    file.seek(end)
    if file.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):  # of which tarfile itself says nothing
        raise InputError(f"archive {path} ends too early or is damaged: copy it again")


def _plain(name: str, path: str) -> str:
    """The plain name of a member, or nothing and a warning."""
    try:
        return plain_name(name)
    except InputError as error:
        _LOGGER.warning("archive %s: %s, left out", path, error)
        return ""


def _short(name: str) -> str:
    return shown(name)[1:-1]


def _whole(number: int) -> int:
    """A number of an archive's list as one that fits; a false one then leads to no member."""
    return min(max(int(number), 0), _FAR)


def read_member(
    file: BinaryIO, member: Member, path: Path | str, max_bytes: int = MAX_MEMBER_BYTES
) -> bytes:
    """The bytes of one file of an archive.

    Args:
        file: the open archive.
        member: what to read.
        path: the archive, for messages.
        max_bytes: a member of more bytes, packed or unpacked, is refused before it is read.

    Raises:
        InputError: if they are not there, are too many, or are damaged.
    """
    where = f"archive {path}, member {member.name}"
    if max(member.size, member.stored) > max_bytes:
        raise InputError(
            f"{where}: unpacks to {member.size} bytes, more than the {max_bytes} that are read"
        )
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
            # One byte more than the list says shows a list that is wrong, or a bomb.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
    except InputError:
        raise
    except (OSError, ValueError, OverflowError, MemoryError, struct.error, zlib.error) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{where}: cannot be read ({reason})") from error
    if len(data) != member.size:
        raise InputError(
            f"{where}: is damaged (it has not the {member.size} bytes of the archive's list), "
            "copy the archive again"
        )
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

"""Photos in folders, zip files and tar shards, found by name and read without unpacking."""

from __future__ import annotations

import glob
import io
import os
import posixpath
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import check_regular
from human_edge_detection.data.archives import (
    ARCHIVE_SUFFIXES,
    Member,
    OpenArchives,
    list_members,
    read_member,
)

_WIDTH = len(Member._fields)  # the archive's number takes the place of the name
IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .tif .tiff .gif .ppm .pgm .pbm .avif .jp2".split()
)


class PhotoStore:
    """Several folders and archives that are looked through as if they were one folder.

    What lies where in the archives is found out once; other processes are sent the list. A name
    may leave out the folders that all of an archive's files are in.

    Args:
        places: folders, zip files and tar files, kept as an attribute. A name that two archives
            hold is refused when it is asked for; of several folders the first one that has it
            counts.

    Raises:
        InputError: if an archive cannot be used.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = tuple(places)
        self._folders = [place for place in places if place.is_dir()]
        self._archives = [place for place in places if not place.is_dir()]
        self._opened = OpenArchives()
        self._row_of: dict[str, int] = {}
        self._facts = array("q")  # of each row the archive's number, then the member's facts
        self._also_in: dict[str, Path] = {}
        self._tops: list[str] = []
        for number in range(len(self._archives)):
            self._index(number)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def names(self) -> list[str]:
        """The names of all files in the archives."""
        return list(self._row_of)

    def path_of(self, name: str) -> Path:
        """Where a photo is, the path inside an archive following that of the archive."""
        found = self._find(name)
        if isinstance(found, str):
            return self._member(found)[0] / found
        return found or self.places[0] / name

    def size(self, name: str) -> int:
        """Bytes of a photo's file."""
        found = self._known(name)
        return self._member(found)[1].size if isinstance(found, str) else _size(found)

    def read(self, name: str) -> bytes:
        """The bytes of a photo's file.

        Raises:
            InputError: if there is none, or it cannot be read, with the archive and the member.
        """
        found = self._known(name)
        if isinstance(found, Path):
            return _read(found)
        archive, member = self._member(found)
        with self._opened.file(archive) as file:
            return read_member(file, member, archive)

    def _index(self, number: int) -> None:
        folders = set()
        for name, *facts in list_members(self._archives[number]):
            if name.startswith("__MACOSX/") or posixpath.basename(name).startswith("._"):
                continue  # what macOS adds to its archives
            folders.add(posixpath.dirname(name))
            row = self._row_of.get(name)
            if row is not None and self._facts[row * _WIDTH] != number:
                self._also_in.setdefault(name, self._archives[number])
                continue
            self._row_of[name] = len(self._facts) // _WIDTH  # of several in one the last counts
            self._facts.extend((number, *map(int, facts)))
        top = posixpath.commonpath(folders) if folders and "" not in folders else ""
        while top:
            self._tops += [top] if top not in self._tops else []
            top = posixpath.dirname(top)

    def _find(self, name: str) -> Path | str | None:
        """The file in a folder, or the whole name of the member of an archive."""
        for folder in self._folders:
            if os.path.isfile(path := folder / name):
                return path
        plain = posixpath.normpath(name)
        for known in (plain, *(f"{top}/{plain}" for top in self._tops)):
            if known in self._also_in:
                raise InputError(
                    f"photo {known} is in {self._member(known)[0]} and in {self._also_in[known]}: "
                    "name only archives that belong together"
                )
            if known in self._row_of:
                return known
        return None

    def _known(self, name: str) -> Path | str:
        found = self._find(name)
        if found is None:
            some = ", ".join(map(str, self.places[:3])) + (", …" if self.places[3:] else "")
            raise InputError(f"no photo {name} in {some}: complete the photos, or the annotations")
        return found

    def _member(self, name: str) -> tuple[Path, Member]:
        """The archive, and where the member lies in it."""
        first = self._row_of[name] * _WIDTH
        number, offset, stored, is_zip, is_deflated, crc, size = self._facts[first : first + _WIDTH]
        member = Member(name, offset, stored, bool(is_zip), bool(is_deflated), crc, size)
        return self._archives[number], member


@dataclass(frozen=True)
class PhotoFile:
    """One photo's file, wherever it is.

    Attributes:
        place: a folder, or folders and archives.
        name: its path below that.
    """

    place: Path | PhotoStore
    name: str

    def __str__(self) -> str:
        return str(self.path)

    @property
    def path(self) -> Path:
        """Where it is, the path inside an archive following that of the archive."""
        if isinstance(self.place, Path):
            return self.place / self.name
        return self.place.path_of(self.name)

    def exists(self) -> bool:
        """Whether the file is there."""
        if isinstance(self.place, Path):
            return os.path.isfile(self.path)
        return self.name in self.place

    def size(self) -> int:
        """Its bytes."""
        return _size(self.path) if isinstance(self.place, Path) else self.place.size(self.name)

    def source(self) -> Path | io.BytesIO:
        """What an image library opens: the path, or the bytes out of an archive."""
        return self.path if isinstance(self.place, Path) else io.BytesIO(self.read())

    def read(self) -> bytes:
        """All of its bytes.

        Raises:
            InputError: if it is missing or cannot be read.
        """
        return _read(self.path) if isinstance(self.place, Path) else self.place.read(self.name)


def open_photos(paths: Sequence[Path], flag: str) -> Path | PhotoStore:
    """Where photos are: one plain folder as it is, anything else as a store.

    A path may be a folder, a folder of archives without photos, a zip or tar file, or a pattern.

    Args:
        paths: what the user typed.
        flag: after which flag, for messages.

    Raises:
        InputError: if a path does not exist or is no place of photos.
    """
    places = [place for path in paths for place in _expand(path, flag)]
    if len(places) == 1 and places[0].is_dir():
        return places[0]
    return PhotoStore(list(dict.fromkeys(places)))


def _expand(path: Path, flag: str) -> list[Path]:
    if not os.path.exists(path):
        if not glob.has_magic(str(path)) or "\0" in str(path):
            raise InputError(f"{flag} {path!s:.300} does not exist: check the path")
        found = filter(os.path.exists, sorted(glob.glob(str(path), recursive=True)))
        places = [place for item in found for place in _expand(Path(item), flag)]
        if not places:
            raise InputError(f"{flag} {path} fits no file: check the pattern")
        return places
    if not path.is_dir():
        return [path]
    try:
        return _in_folder(path)
    except OSError as error:
        raise InputError(f"{flag} {path} may not be read: {error.strerror or error}") from error


def _in_folder(path: Path) -> list[Path]:
    """The archives of a folder that holds no photos, else the folder itself."""
    shards = []
    for entry in os.scandir(path):
        suffix = Path(entry.name).suffix.lower()
        if entry.is_dir() or suffix in IMAGE_SUFFIXES:
            return [path]  # a plain folder, as the first entry tells
        shards += [Path(entry.path)] if suffix in ARCHIVE_SUFFIXES else []
    return sorted(shards) or [path]


def _read(path: Path) -> bytes:
    check_regular(path, "photo")
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it does not fit into memory"
        raise InputError(f"photo {path} cannot be read: {reason}") from error


def _size(path: Path) -> int:
    check_regular(path, "photo")
    return path.stat().st_size

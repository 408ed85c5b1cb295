"""The input files of ``predict``: finds photos and videos, and decodes videos."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.archives import ARCHIVE_SUFFIXES
from human_edge_detection.data.photos import IMAGE_SUFFIXES, PhotoFile, PhotoStore

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .ts .mts".split())


@dataclass(frozen=True)
class Source:
    """One file to work on.

    Attributes:
        path: where it is; inside an archive, the path there after that of the archive.
        name: its path below the folder or archive it was found in, with forward slashes.
        archive: the archive that it is in.
    """

    path: Path
    name: str
    archive: PhotoStore | None = None

    @property
    def is_video(self) -> bool:
        """Whether the file's ending is a video's."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def file(self) -> PhotoFile | Path:
        """What :func:`read_image` reads."""
        return self.path if self.archive is None else PhotoFile(self.archive, self.name)

    def stamp(self) -> list[int]:
        """Size and time of the last change, nanoseconds; of an archive its own."""
        path = self.path if self.archive is None else self.archive.places[0]
        facts = path.stat()
        return [facts.st_size, facts.st_mtime_ns]


def find_sources(
    arguments: Iterable[str],
    *,
    recursive: bool = False,
    listed: Iterable[str] = (),
    output: Path | None = None,
) -> list[Source]:
    """The files that the arguments name, each once, those of a folder sorted by name.

    Args:
        arguments: files, folders, zip and tar files, globs, or ``-`` for the lines of ``listed``.
        recursive: look into folders below folders too.
        listed: lines of standard input; a missing file among them is an error when it is read.
        output: folder of results, whose files are left out.

    Raises:
        InputError: an argument does not exist or names no photo or video.
    """
    kept = None if output is None else output.resolve()
    found: dict[Path, Source] = {}
    for argument in arguments:
        if argument == "-":
            lines = (line.strip() for line in listed)
            sources = [source for line in lines if line for source in _listed(line, recursive)]
        else:
            sources = list(_expand(argument, recursive))
        fresh = 0
        for source in sources:
            path = source.path.resolve()
            if kept is None or not path.is_relative_to(kept):
                found.setdefault(path, source)
                fresh += 1
        if not fresh:
            raise InputError(_nothing(argument, recursive))
    return list(found.values())


def _nothing(argument: str, recursive: bool) -> str:
    if argument == "-":
        return "SOURCE -: standard input lists no file; write one path a line"
    hint = "" if recursive or not Path(argument).is_dir() else " (--recursive looks deeper)"
    return f"SOURCE {argument}: no photo or video there{hint}"


def _listed(line: str, recursive: bool) -> Iterator[Source]:
    path = Path(line)
    return _expand(line, recursive) if path.exists() else iter([Source(path, path.name)])


def _expand(argument: str, recursive: bool) -> Iterator[Source]:
    path = Path(argument)
    if path.is_dir():
        yield from _in_folder(path, recursive)
    elif path.exists():
        yield from _in_file(path, path.name)
    elif glob.has_magic(argument):
        root = Path(_fixed_part(argument))
        for match in sorted(glob.glob(argument, recursive=True)):
            if Path(match).is_file():
                name = os.path.relpath(match, root).replace(os.sep, "/")
                yield from _in_file(Path(match), name)
    else:
        raise InputError(f"SOURCE {argument} does not exist: check the path")


def _in_file(path: Path, name: str) -> Iterator[Source]:
    if path.suffix.lower() not in ARCHIVE_SUFFIXES:
        yield Source(path, name)
        return
    archive = PhotoStore([path])
    for member in sorted(archive.names()):
        if Path(member).suffix.lower() in IMAGE_SUFFIXES:
            yield Source(path / member, member, archive)


def _in_folder(folder: Path, recursive: bool) -> Iterator[Source]:
    pattern = "**/*" if recursive else "*"
    for path in sorted(folder.glob(pattern)):
        if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and path.is_file():
            if not path.name.startswith("."):
                yield Source(path, path.relative_to(folder).as_posix())


def _fixed_part(pattern: str) -> str:
    parts = Path(pattern).parts
    wild = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:wild])) if wild else "."


MISSING_FRACTION = 0.05
"""A container's frame count is often slightly wrong; beyond this fraction the file is cut off."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        number: its index in the video, from 0.
        seconds: time at which it is shown.
        image: uint8 [H, W, 3] RGB, upright.
    """

    number: int
    seconds: float
    image: ImageArray


class VideoReader:
    """The frames of a video file, one at a time.

    Attributes:
        fps: frames per second.
        count: number of frames in the file's header; 0 if it has none.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: the file is missing or no video that OpenCV can decode.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such video file")
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is not a video that can be decoded: damaged, or its codec is "
                "unknown (ffmpeg -i FILE out.mp4 converts it)"
            )
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every ``every``-th frame; the others are skipped without being converted.

        Raises:
            InputError: after the last frame, if the file ends long before its own count.
        """
        number = 0
        while self._capture.grab():
            if number % every == 0:
                good, bgr = self._capture.retrieve()
                if not good:
                    break
                image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
                yield Frame(number, number / self.fps, image)
            number += 1
        if number == 0 or number < self.count * (1 - MISSING_FRACTION):
            raise InputError(
                f"{self._path} is damaged or cut off: {number} of {self.count} frames "
                "could be decoded"
            )

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

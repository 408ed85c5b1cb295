"""The input files of ``predict``: finds photos and videos, and decodes videos."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection.core import MAX_PIXELS
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import check_regular
from human_edge_detection.core.images import read_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.archives import ARCHIVE_SUFFIXES, PACKED_SUFFIXES
from human_edge_detection.data.photos import IMAGE_SUFFIXES, PhotoFile, PhotoStore

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .wmv .flv .ts .mts".split())


@dataclass(frozen=True)
class Source:
    """One file to work on.

    Attributes:
        path: where it is; inside an archive, the path there after that of the archive.
        name: its path below the folder or archive it was found in, with forward slashes.
        archive: the archive that it is in.
        fault: why it cannot be read, if that is known already.
    """

    path: Path
    name: str
    archive: PhotoStore | None = None
    fault: str = ""

    @property
    def is_video(self) -> bool:
        """Whether the file's ending is a video's."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def file(self) -> PhotoFile | Path:
        """What :func:`read_image` reads."""
        return self.path if self.archive is None else PhotoFile(self.archive, self.name)

    def read(self, max_pixels: int) -> ImageArray:
        """The photo uint8 [H, W, 3] RGB; the rest is as of :func:`read_image`."""
        if self.fault:
            raise InputError(self.fault)
        return read_image(self.file, max_pixels=max_pixels)

    @property
    def key(self) -> str:
        """The absolute path without links, which no other file has."""
        return str(real_path(self.path))

    def stamp(self) -> list[int] | None:
        """Size and time of the last change, nanoseconds; of an archive its own; None if gone."""
        return stamp_of(self.path if self.archive is None else self.archive.places[0])


def stamp_of(path: Path) -> list[int] | None:
    """A file's size and time of the last change, nanoseconds; None if it is gone."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return [facts.st_size, facts.st_mtime_ns]


def real_path(path: Path) -> Path:
    """The absolute path without links, also of a path that cannot exist."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path.absolute()


def find_sources(
    arguments: Iterable[str],
    *,
    recursive: bool = False,
    listed: Iterable[str] = (),
    output: Path | None = None,
) -> list[Source]:
    """The files that the arguments name, each once, those of a folder sorted by name.

    An archive that cannot be read is one source with a fault, as is such a line of ``listed``.

    Args:
        arguments: files, folders, zip and tar files, globs, or ``-`` for the lines of ``listed``.
        recursive: look into folders below folders too.
        listed: lines of standard input; a missing file among them is an error when it is read.
        output: folder of results, whose files are left out.

    Raises:
        InputError: an argument does not exist or names no photo or video, or none can be read.
    """
    kept = None if output is None else real_path(output)
    found: dict[Path, Source] = {}
    for argument in arguments:
        if argument == "-":
            lines = (line.strip() for line in listed)
            sources = [source for line in lines if line for source in _listed(line, recursive)]
        else:
            sources = list(_expand(argument, recursive))
        fresh = 0
        for source in sources:
            path = real_path(source.path)
            if kept is None or not path.is_relative_to(kept):
                found.setdefault(path, source)
                fresh += 1
        if not fresh:
            raise InputError(_nothing(argument, recursive))
    if found and all(source.fault for source in found.values()):
        raise InputError(next(iter(found.values())).fault)
    return list(found.values())


def _nothing(argument: str, recursive: bool) -> str:
    if argument == "-":
        return "SOURCE -: standard input lists no file; write one path a line"
    hint = "" if recursive or not os.path.isdir(argument) else " (--recursive looks deeper)"
    return f"SOURCE {argument}: no photo or video there{hint}"


def _listed(line: str, recursive: bool) -> list[Source]:
    path = Path(line)
    try:
        return list(_expand(line, recursive)) if os.path.exists(line) else [Source(path, path.name)]
    except InputError as error:
        return [Source(path, path.name, fault=str(error))]


def _expand(argument: str, recursive: bool) -> Iterator[Source]:
    path = Path(argument)
    if os.path.isdir(path):
        yield from _in_folder(path, recursive)
    elif os.path.exists(path):
        yield from _in_file(path, path.name)
    elif glob.has_magic(argument):
        root = Path(_fixed_part(argument))
        for match in sorted(glob.glob(argument, recursive=True)):
            if os.path.isfile(match):
                name = os.path.relpath(match, root).replace(os.sep, "/")
                yield from _in_file(Path(match), name)
    else:
        raise InputError(_absent(argument))


def _absent(argument: str) -> str:
    try:
        os.stat(argument)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return f"SOURCE {argument} cannot be read: {reason}"
    return f"SOURCE {argument} does not exist: check the path"


def _in_file(path: Path, name: str) -> Iterator[Source]:
    if path.suffix.lower() not in ARCHIVE_SUFFIXES | PACKED_SUFFIXES:
        yield Source(path, name)
        return
    try:
        check_regular(path, "archive")
        archive = PhotoStore([path])
    except InputError as error:
        yield Source(path, name, fault=str(error))
        return
    for member in sorted(archive.names()):
        if Path(member).suffix.lower() in IMAGE_SUFFIXES:
            yield Source(path / member, member, archive)


def _in_folder(folder: Path, recursive: bool) -> Iterator[Source]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"SOURCE {folder} may not be read: Permission denied")
    pattern = "**/*" if recursive else "*"
    for path in sorted(folder.glob(pattern)):
        if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and os.path.isfile(path):
            below = path.relative_to(folder)
            if not any(part.startswith(".") for part in below.parts):
                yield Source(path, below.as_posix())


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


class VideoReader(AbstractContextManager["VideoReader"]):
    """The frames of a video file, one at a time; closed at the end of a ``with`` statement.

    Attributes:
        fps: frames per second.
        count: number of frames in the file's header; 0 if it has none.
    """

    def __init__(self, path: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Open the file.

        Raises:
            InputError: the file is missing or no video that OpenCV can decode, or has frames of
                more than ``max_pixels``.
        """
        check_regular(path, "video")
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is not a video that can be decoded: damaged, or its codec is "
                "unknown (ffmpeg -i FILE out.mp4 converts it)"
            )
        width, height = (
            int(self._capture.get(side))
            for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > max_pixels:
            self.close()
            raise InputError(
                f"{path} has frames of {width}x{height} pixels, more than max_pixels {max_pixels}"
            )
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every ``every``-th frame; the others are skipped without being converted.

        Raises:
            InputError: a frame cannot be decoded, or the file ends long before its own count.
        """
        number = 0
        while True:
            image = None
            try:
                if not self._capture.grab():
                    break
                if number % every == 0:
                    good, bgr = self._capture.retrieve()
                    if not good:
                        break
                    image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            except cv2.error as error:  # an empty frame, or one of a size that cannot be
                text = f"{self._path} is damaged: frame {number} cannot be decoded"
                raise InputError(text) from error
            if image is not None:
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

    def __exit__(self, *error: object) -> None:
        self.close()

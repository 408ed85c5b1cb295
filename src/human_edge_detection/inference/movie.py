"""Writes films, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import replacing
from human_edge_detection.core.structures import ImageArray


@contextmanager
def open_movie(
    path: Path, fps: float, size_wh: tuple[int, int]
) -> Iterator[Callable[[ImageArray], None]]:
    """The function that adds a frame uint8 [H, W, 3] RGB of even sides to an MP4 file.

    Raises:
        InputError: if it cannot be written whole. OpenCV reports no full disk, so it is read again.
    """
    with replacing(path) as unfinished:
        movie = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh)
        if not movie.isOpened():
            raise InputError(f"{path} cannot be written as a video of {size_wh[0]}x{size_wh[1]}")
        count = 0

        def write(frame: ImageArray) -> None:
            nonlocal count
            if frame.shape[1::-1] != size_wh:
                raise InputError(f"{path}: frame {count} is of another size than the first")
            movie.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1

        try:
            yield write
        finally:
            movie.release()
        if not _holds_frames(unfinished, count):
            raise InputError(f"{path} cannot be written whole: is the disk full?")


def _holds_frames(path: Path, count: int) -> bool:
    """Whether a video has ``count`` frames, of which the last can be decoded."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) != count:
            return False
        capture.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        return bool(capture.grab())
    finally:
        capture.release()

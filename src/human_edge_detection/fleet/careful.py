"""Decodes photos in a process of its own, where one of them may have killed the last reader."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager

from human_edge_detection.core.images import read_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.fleet.fetch import PhotoBytes, RowFailure


class ChildReader(AbstractContextManager["ChildReader"]):
    """Decodes one photo at a time in a child, and goes on with a new child when it dies."""

    def __init__(self) -> None:
        """Start a child."""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context)

    def __call__(self, photo: PhotoBytes, *, max_pixels: int) -> ImageArray:
        """The photo, as of :func:`read_image`.

        Raises:
            InputError: it cannot be decoded.
            RowFailure: it killed the child.
        """
        try:
            return self._pool.submit(read_image, photo, max_pixels=max_pixels).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self._start()
            text = f"{photo.uri}: decoding it kills the process that does: replace it"
            raise RowFailure("killed", text) from None

    def __exit__(self, *error: object) -> None:
        """End the child."""
        self._pool.shutdown()

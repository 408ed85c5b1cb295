"""The bytes of photos, wherever they are: files, members of archives, rows of parquet files."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.archives import MAX_MEMBER_BYTES, read_member
from human_edge_detection.fleet import places
from human_edge_detection.fleet.sources import Photo, image_column


@dataclass(frozen=True)
class PhotoBytes:
    """A photo's file in memory, under its own name.

    Attributes:
        uri: the photo's name.
        data: the file's bytes.
    """

    uri: str
    data: bytes

    def source(self) -> io.BytesIO:
        """What Pillow opens."""
        return io.BytesIO(self.data)

    def __str__(self) -> str:
        return self.uri


class RowFailure(Exception):
    """Why one photo has no masks.

    Attributes:
        kind: at which step: ``read``, ``decode``, ``boxes``, ``segment``, or ``killed``.
        text: what was wrong.
    """

    def __init__(self, kind: str, text: str) -> None:
        """Describe it."""
        super().__init__(kind, text)
        self.kind, self.text = kind, text


@contextmanager
def failing(kind: str) -> Iterator[None]:
    """Make any error in the block a failure of that kind."""
    from human_edge_detection.inference.segment import reason

    try:
        yield
    except RowFailure:
        raise
    except Exception as error:
        raise RowFailure(kind, reason(error)) from error


class Fetcher:
    """Fetches photos; each thread keeps the file open that it read from last."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._own = threading.local()

    def __call__(self, photo: Photo) -> bytes:
        """The bytes of a photo's file.

        Raises:
            RowFailure: they cannot be read.
        """
        with failing("read"):
            if photo.fault is not None:
                raise InputError(photo.fault)
            if photo.container is None:
                return places.read(photo.uri, MAX_MEMBER_BYTES)
            if photo.member is not None:
                try:
                    return read_member(self._opened(photo.container), photo.member, photo.container)
                except InputError:
                    self._own.place = None  # a connection that broke is not used again
                    raise
            assert photo.row is not None
            return self._parquet_row(photo.container, photo.row)

    def _opened(self, place: str) -> io.BufferedReader:
        if getattr(self._own, "place", None) != place:
            self._own.file = places.open_file(place)
            self._own.table, self._own.group, self._own.place = None, -1, place
        file: io.BufferedReader = self._own.file
        return file

    def _parquet_row(self, place: str, row: int) -> bytes:
        """A photo of a parquet file, of which one row group is kept in memory."""
        from pyarrow import parquet

        file = self._opened(place)
        if self._own.table is None:
            table = parquet.ParquetFile(file)
            counts = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
            self._own.table, self._own.ends = table, np.cumsum(counts)
            self._own.column = image_column(table.schema_arrow)
        group = int(np.searchsorted(self._own.ends, row, side="right"))
        if group != self._own.group:
            found = self._own.table.read_row_group(group, columns=[self._own.column])
            self._own.values = found.column(0)
            self._own.group = group
        first = int(self._own.ends[group - 1]) if group else 0
        value: Any = self._own.values[row - first].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise InputError(f"{place}, row {row}: there are no bytes of a photo")
        return data

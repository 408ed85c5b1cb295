"""The work on one block of a job: its photos are read, segmented, and written as one file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from human_edge_detection.core import version_text
from human_edge_detection.core.errors import InputError
from human_edge_detection.fleet import places
from human_edge_detection.fleet.job import Job
from human_edge_detection.fleet.manifest import read_block
from human_edge_detection.fleet.rows import SegmentRows, read_rows
from human_edge_detection.fleet.settings import SegmentSettings

if TYPE_CHECKING:
    import pyarrow as pa

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadBlock:
    """Reads a block's photos ahead of the worker that segments them.

    Attributes:
        manifest: the folder of the job's manifest.
    """

    manifest: str

    def __call__(self, numbers: pa.Table) -> pa.Table:
        """The rows of the block that a table of one row, ``block``, names, with their bytes."""
        import pyarrow as pa

        (number,) = numbers.column("block").to_pylist()
        rows = read_rows(read_block(self.manifest, number))
        return rows.append_column("block", pa.array([number] * len(rows), pa.int64()))


class SegmentBlock:
    """Segments a block and writes its file; holds the open model.

    A block is the same file however often it is worked on, so that a repeat, after a crash or by
    two workers at once, does no harm. The mark of a block outlives only a worker that died: its
    photos are then decoded in another process, because one of them may be what killed it.
    """

    def __init__(self, job: Job, settings: SegmentSettings, model: dict[str, str | None]) -> None:
        """Open the model.

        Args:
            job: what to work on.
            settings: the model and how it is used.
            model: the fingerprint that its files must have.

        Raises:
            InputError: a file is missing, unusable, or not the one of the job.
        """
        import cv2

        cv2.setNumThreads(settings.threads)
        if (own := settings.fingerprint()) != model:
            raise InputError(f"the model on this machine is {own}, but that of the job is {model}")
        self._segment, self._job = SegmentRows(settings), job
        facts = {key.lstrip("-"): value for key, value in model.items() if value}
        self._facts = {**facts, "version": version_text()}

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One row that sums up the block, when its file is written."""
        import pyarrow as pa
        from pyarrow import compute, parquet

        number = rows.column("block")[0].as_py()
        mark = self._job.mark(number)
        if careful := places.exists(mark):
            _LOGGER.warning("block %d was left by a worker that ended: with care now", number)
        places.write(mark, b"")
        found = self._segment(rows, careful)
        buffer = pa.BufferOutputStream()
        table = found.replace_schema_metadata(self._facts)
        parquet.write_table(table, buffer, compression="zstd")
        places.write(self._job.result(number), buffer.getvalue().to_pybytes())
        places.remove(mark)
        errors = found.column("error").drop_null()
        people = compute.sum(compute.list_value_length(found.column("people"))).as_py()
        return pa.table(
            {
                "block": [number],
                "photos": [len(found)],
                "people": [people],
                "errors": [len(errors)],
                "error": pa.array([errors[0].as_py() if len(errors) else None], pa.string()),
            }
        )

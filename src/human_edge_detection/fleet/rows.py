"""The work on a table of photos: rows of the manifest in, rows of masks out, on any engine.

:func:`read_rows` needs a CPU for moments and a network; :class:`SegmentRows` holds the model. Both
take and return ``pyarrow.Table``, so Ray, Spark and Daft can call them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from human_edge_detection.core.images import read_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.fleet.careful import ChildReader
from human_edge_detection.fleet.fetch import Fetcher, PhotoBytes, RowFailure, failing
from human_edge_detection.fleet.manifest import photo_of
from human_edge_detection.fleet.settings import SegmentSettings
from human_edge_detection.inference.background import read_ahead
from human_edge_detection.inference.boxes import ImageBoxes
from human_edge_detection.inference.segment import Photo, segment_each
from human_edge_detection.masks.instance_masks import InstanceMasks

if TYPE_CHECKING:
    import pyarrow as pa

READ_AHEAD_BYTES = 64 << 20
"""Bytes of a block's photos that are read before a worker takes it; it reads the others itself."""

READERS = 8
"""Threads that fetch the photos of a block."""

Row = dict[str, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


def result_schema() -> pa.Schema:
    """The columns of the results, one row a photo.

    ``people`` has the fields of COCO results, ``bbox`` as x, y, width, height. ``faults`` are boxes
    that were left out. A photo with an ``error`` has no people, and ``error_kind`` tells the step.
    """
    import pyarrow as pa

    person = pa.struct(
        [
            ("bbox", pa.list_(pa.float64())),
            ("score", pa.float64()),
            ("area", pa.int64()),
            ("counts", pa.string()),
            ("box_id", pa.int64()),
        ]
    )
    return pa.schema(
        [
            ("id", pa.int64()),
            ("uri", pa.string()),
            ("image_id", pa.int64()),
            ("file_name", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("people", pa.list_(person)),
            ("faults", pa.list_(pa.string())),
            ("error", pa.string()),
            ("error_kind", pa.string()),
            ("seconds", pa.float32()),
        ]
    )


def read_rows(table: pa.Table, most_bytes: int = READ_AHEAD_BYTES) -> pa.Table:
    """The rows with the photos' bytes, in a column ``data``, and with what could not be read.

    Args:
        table: rows of a manifest.
        most_bytes: when so many are read, the other photos are left to :class:`SegmentRows`.
    """
    import pyarrow as pa

    photos = [photo_of(row) for row in table.to_pylist()]
    data: list[bytes | None] = [None] * len(photos)
    faults: list[str | None] = [photo.fault for photo in photos]
    # Threads would each keep a row group of a parquet file.
    threads = 1 if any(photo.row is not None for photo in photos) else READERS
    total = 0
    for number, (_, found) in enumerate(read_ahead(Fetcher(), photos, threads)):
        if isinstance(found, RowFailure):
            faults[number] = found.text
        elif isinstance(found, Exception):
            raise found
        else:
            data[number], total = found, total + len(found)
        if total >= most_bytes:
            break
    column = table.schema.get_field_index("fault")
    table = table.set_column(column, "fault", pa.array(faults, pa.string()))
    return table.append_column("data", pa.array(data, pa.large_binary()))


@dataclass(frozen=True)
class _Ready:
    """A row whose photo was read, or why it was not.

    Attributes:
        row: the row.
        photo: what the networks take; None after a failure.
        failure: why there is none.
        size_hw: the photo's height and width, where it could be decoded.
        seconds: the time that it took.
    """

    row: Row
    photo: Photo | None
    failure: RowFailure | None
    size_hw: tuple[int, int] | None
    seconds: float


_Segmented = tuple[_Ready, "InstanceMasks | Exception", float]
"""A row with its masks, or what went wrong, and the networks' seconds."""


class SegmentRows:
    """The masks of a table of photos; holds the open model.

    Calling it again with other rows is cheap. Belongs to one thread.
    """

    def __init__(self, settings: SegmentSettings | None = None) -> None:
        """Open the model.

        Raises:
            InputError: a file is missing or unusable.
        """
        self._settings = settings or SegmentSettings()
        self._predictor = self._settings.open()
        self._fetch = Fetcher()

    def __call__(self, table: pa.Table, careful: bool = False) -> pa.Table:
        """One row of results (see :func:`result_schema`) for each row.

        Args:
            table: rows of :func:`read_rows`, or of a manifest.
            careful: decode each photo in another process, because one may kill its reader.
        """
        import pyarrow as pa

        rows = table.to_pylist()
        with ChildReader() if careful else nullcontext(read_image) as read:
            prepare = partial(self._prepare, read=read)
            # One child decodes one photo after another.
            ready = map(prepare, rows) if careful else self._mapped(prepare, rows)
            results = list(self._mapped(self._result, self._segmented(ready)))
        return pa.Table.from_pylist(results, result_schema())

    def _mapped(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """The function's results, in order, by threads ahead of their use if there are several."""
        if self._settings.threads == 1:
            yield from map(function, items)
            return
        for _, found in read_ahead(function, items, self._settings.threads):
            if isinstance(found, Exception):
                raise found
            yield found

    def _prepare(self, row: Row, read: Callable[..., ImageArray]) -> _Ready:
        """The row's photo, decoded and prepared."""
        started, size_hw = time.perf_counter(), None
        try:
            place, settings = photo_of(row), self._settings
            data = row.get("data")
            if data is None:
                data = self._fetch(place)
            with failing("decode"):
                image = read(PhotoBytes(place.uri, data), max_pixels=settings.max_pixels)
                size_hw = image.shape[0], image.shape[1]
            boxes: ImageBoxes | None = None
            with failing("boxes"):
                if place.boxes is not None:
                    boxes = place.boxes.for_photo(size_hw).at_most(settings.max_people, place.uri)
            with failing("segment"):
                photo = Photo(image, self._predictor.prepare(image), boxes)
        except RowFailure as failure:
            return _Ready(row, None, failure, size_hw, time.perf_counter() - started)
        return _Ready(row, photo, None, size_hw, time.perf_counter() - started)

    def _segmented(self, rows: Iterator[_Ready]) -> Iterator[_Segmented]:
        """The rows with their masks; on a GPU several pass through the networks together."""
        size = self._settings.batch if self._settings.gpu else 1
        while group := list(itertools.islice(rows, size)):
            started = time.perf_counter()
            photos = [ready.photo for ready in group if ready.photo is not None]
            found = iter(segment_each(self._predictor, photos, self._settings.score))
            masks = [ready.failure or next(found) for ready in group]
            seconds = (time.perf_counter() - started) / len(group)
            yield from ((ready, own, seconds) for ready, own in zip(group, masks, strict=True))

    def _result(self, segmented: _Segmented) -> Row:
        """The row of results of one photo."""
        (ready, masks, seconds), started = segmented, time.perf_counter()
        row, people, failed = ready.row, list[Row](), None
        try:
            with failing("segment"):
                if isinstance(masks, Exception):
                    raise masks
                people = [_person(own) for own in masks.coco_people(self._settings.threshold)]
        except RowFailure as failure:
            failed = failure
        boxes = ready.photo.boxes if ready.photo else None
        given = row["boxes"] or {}
        height, width = ready.size_hw or (None, None)
        return {
            "id": row["id"], "uri": row["uri"], "image_id": given.get("image_id"),
            "file_name": given.get("file_name") or row["name"], "height": height, "width": width,
            "people": people, "faults": list(boxes.faults) if boxes else [],
            "error": failed and failed.text, "error_kind": failed and failed.kind,
            "seconds": ready.seconds + seconds + time.perf_counter() - started,
        }  # fmt: skip


def _person(result: Row) -> Row:
    kept = {key: result[key] for key in ("bbox", "score", "area")}
    counts, box_id = result["segmentation"]["counts"], result.get("annotation_id")
    return {**kept, "counts": counts, "box_id": box_id}

"""The manifest of a job: every photo with its number, frozen, in blocks that workers take."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.archives import Member
from human_edge_detection.fleet import places
from human_edge_detection.fleet.sources import Photo
from human_edge_detection.inference.boxes import BoxFile, ImageBoxes

if TYPE_CHECKING:
    import pyarrow as pa

BLOCKS_A_FILE = 256
"""Blocks of one file of the manifest; each is a row group, which can be read alone."""


def manifest_schema() -> pa.Schema:
    """The columns of a manifest: those of ``Photo``, and the photo's number from 0."""
    import pyarrow as pa

    numbers = ("offset", "stored", "crc", "size")
    member = pa.struct(
        [
            *((name, pa.int64()) for name in numbers),
            *((name, pa.bool_()) for name in ("is_zip", "is_deflated")),
        ]
    )
    boxes = pa.struct(
        [
            ("boxes_xyxy", pa.list_(pa.float32())),
            ("scores", pa.list_(pa.float32())),
            ("annotation_ids", pa.list_(pa.int64())),
            ("image_id", pa.int64()),
            ("file_name", pa.string()),
            ("size_hw", pa.list_(pa.int32())),
            ("relative", pa.bool_()),
            ("faults", pa.list_(pa.string())),
        ]
    )
    return pa.schema(
        [
            ("id", pa.int64()),
            ("uri", pa.string()),
            ("name", pa.string()),
            ("container", pa.string()),
            ("member", member),
            ("row", pa.int64()),
            ("boxes", boxes),
            ("fault", pa.string()),
        ]
    )


def write_manifest(folder: str, photos: Iterable[Photo], block: int) -> int:
    """Write a job's photos and return their number.

    Args:
        folder: where to.
        photos: taken one by one; some 65,000 are in memory at a time.
        block: photos of a block.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rows, count, size = iter(photos), 0, block * BLOCKS_A_FILE
    for number in itertools.count():
        some = list(itertools.islice(rows, size))
        if not some:
            return count
        columns: dict[str, Any] = dict(zip(Photo._fields, zip(*some, strict=True), strict=True))
        columns["id"] = range(count, count + len(some))
        columns["member"] = [member and member._asdict() for member in columns["member"]]
        columns["boxes"] = [boxes and _plain(boxes) for boxes in columns["boxes"]]
        table = pa.Table.from_pydict(columns, manifest_schema())
        buffer = pa.BufferOutputStream()
        parquet.write_table(table, buffer, row_group_size=block, compression="zstd")
        places.write(_file(folder, number), buffer.getvalue().to_pybytes())
        count += len(some)
    raise AssertionError("the photos end")


def _file(folder: str, number: int) -> str:
    return places.below(folder, f"{number:05}.parquet")


def read_block(folder: str, number: int) -> pa.Table:
    """One block of the manifest.

    Raises:
        InputError: it is not there.
    """
    import pyarrow as pa
    from pyarrow import parquet

    place = _file(folder, number // BLOCKS_A_FILE)
    with places.open_file(place) as file:
        try:
            return parquet.ParquetFile(file).read_row_group(number % BLOCKS_A_FILE)
        except (OSError, IndexError, pa.ArrowException) as error:
            raise InputError(f"{place} is damaged or not whole: {error}") from error


class PhotosWithBoxes:
    """The photos that a box file names, each with its boxes.

    Attributes:
        left_out: number of photos so far that it does not name.
    """

    def __init__(self, photos: Iterable[Photo], boxes: BoxFile) -> None:
        """Nothing is read yet."""
        self._photos, self._boxes, self.left_out = photos, boxes, 0

    def __iter__(self) -> Iterator[Photo]:
        """Each photo with its boxes, and those with a fault."""
        for photo in self._photos:
            if photo.fault is not None:
                yield photo
            elif (key := self._boxes.key(photo.uri)) is None:
                self.left_out += 1
            else:
                yield photo._replace(boxes=self._boxes.read(key))


def _plain(boxes: ImageBoxes) -> dict[str, Any]:
    return {**vars(boxes), "boxes_xyxy": boxes.boxes_xyxy.ravel()}


def image_boxes(fields: dict[str, Any] | None) -> ImageBoxes | None:
    """The boxes of a row of the manifest."""
    if fields is None:
        return None
    ids, size = fields["annotation_ids"], fields["size_hw"]
    return ImageBoxes(
        np.array(fields["boxes_xyxy"], np.float32).reshape(-1, 4),
        np.array(fields["scores"], np.float32),
        annotation_ids=None if ids is None else tuple(ids),
        image_id=fields["image_id"],
        file_name=fields["file_name"],
        size_hw=None if size is None else (size[0], size[1]),
        relative=fields["relative"],
        faults=tuple(fields["faults"]),
    )


def photo_of(row: dict[str, Any]) -> Photo:
    """The photo of a row of the manifest."""
    uri, container, fields = row["uri"], row["container"], row["member"]
    member = None
    if fields is not None:
        member = Member(row["name"], **fields)
    return Photo(
        uri, row["name"], container, member, row["row"], image_boxes(row["boxes"]), row["fault"]
    )

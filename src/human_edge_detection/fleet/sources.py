"""SOURCE as photos, one after another: folders, archives, parquet files, and lists of photos."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.archives import ARCHIVE_SUFFIXES, Member, members_of
from human_edge_detection.data.photos import IMAGE_SUFFIXES
from human_edge_detection.fleet import places
from human_edge_detection.inference.boxes import BoxRow, ImageBoxes

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

URI_COLUMNS = ("uri", "file", "path", "file_name", "url")
"""Names of a list's column of photos; the first that it has is taken."""

IMAGE_COLUMNS = ("image", "bytes", "data", "jpg", "png")
"""Names of a parquet file's column of photos: bytes, or a struct with a field ``bytes``."""

LIST_AHEAD = 8 << 20
"""Bytes of a remote archive or list that are fetched at once while it is read through."""


class Photo(NamedTuple):
    """Where one photo is.

    Attributes:
        uri: where it is, as a path or URI; inside a file, its name there after the file's.
        name: its path below the folder or archive that it was found in.
        container: the archive or parquet file that it is in.
        member: where it lies in an archive.
        row: its row in a parquet file.
        boxes: its people, where a list has them.
        fault: why it cannot be read, if that is known already.
    """

    uri: str
    name: str
    container: str | None = None
    member: Member | None = None
    row: int | None = None
    boxes: ImageBoxes | None = None
    fault: str | None = None


def find_photos(
    sources: Sequence[str], recursive: bool = False, output: str | None = None
) -> Iterator[Photo]:
    """The photos that the sources name, in order; nothing is kept in memory but a folder's names.

    An archive or parquet file that cannot be read to its end is one photo more, with a fault.

    Args:
        sources: paths or URIs of folders and files.
        recursive: look into folders below folders too.
        output: folder of results, whose files are left out.

    Raises:
        InputError: a source does not exist or names no photo.
    """
    for source in sources:
        place, is_empty = places.full(source), True
        if places.is_folder(place):
            photos = _in_folder(place, recursive, f"{output}/")
        else:
            suffix = _suffix(place)
            reader = {**_LISTS, **_FILES}.get(suffix)
            if reader is None and suffix not in IMAGE_SUFFIXES:
                raise InputError(
                    f"SOURCE {source} is no photo, archive (.zip, .tar), parquet file or list "
                    "(.txt, .csv); videos are for predict"
                )
            photos = reader(place) if reader else iter([_file(place)])
        for photo in photos:
            is_empty = False
            yield photo
        if is_empty:
            deeper = "" if recursive else " (--recursive looks deeper)"
            raise InputError(f"SOURCE {source}: no photo there{deeper}")


def _suffix(place: str) -> str:
    return posixpath.splitext(place)[1].lower()


def _in_folder(folder: str, recursive: bool, left_out: str) -> Iterator[Photo]:
    """The photos of a folder, also those inside its archives and parquet files."""
    for place in places.files_in(folder, recursive):
        if place.startswith(left_out):
            continue
        suffix = _suffix(place)
        if suffix in IMAGE_SUFFIXES:
            yield Photo(place, place.removeprefix(f"{folder}/"))
        elif reader := _FILES.get(suffix):
            try:
                yield from reader(place)
            except InputError as error:
                yield _file(place, fault=str(error))


def _file(place: str, **facts: Any) -> Photo:
    return Photo(place, posixpath.basename(place), **facts)


def _in_archive(place: str) -> Iterator[Photo]:
    with places.open_file(place, LIST_AHEAD) as file:
        try:
            for member in members_of(file, place):
                is_junk = member.name.startswith("__MACOSX/")
                is_junk |= posixpath.basename(member.name).startswith("._")
                if _suffix(member.name) in IMAGE_SUFFIXES and not is_junk:
                    yield Photo(places.below(place, member.name), member.name, place, member)
        except OSError as error:
            raise InputError(f"archive {place} cannot be read: {error}") from error


def _in_lines(place: str) -> Iterator[Photo]:
    """The photos of a text, one a line."""
    for line in _text(place):
        if line.strip():
            yield from _named(line.strip())


def _in_csv(place: str) -> Iterator[Photo]:
    """The photos of a CSV table with a header."""
    rows = csv.DictReader(_text(place), skipinitialspace=True)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    if "x1" in names:
        raise InputError(f"SOURCE {place} has boxes: name it as --boxes, and the photos as SOURCE")
    column = _column(names, URI_COLUMNS)
    if column is None:
        raise InputError(
            f"SOURCE {place}: its first line must name a column of photos "
            f"({', '.join(URI_COLUMNS)}), but is {','.join(names)[:80]!r}"
        )
    key = (rows.fieldnames or ())[names.index(column)]
    for row in rows:
        if name := (row[key] or "").strip():
            yield from _named(name)


def _text(place: str) -> Iterator[str]:
    """The lines of a text file.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        with places.open_file(place, LIST_AHEAD) as file:
            yield from io.TextIOWrapper(file, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"SOURCE {place} is no text in UTF-8: {error}") from error


def _named(name: str, boxes: ImageBoxes | None = None) -> Iterator[Photo]:
    """The photo that a list names, or those of an archive."""
    place = places.full(name)
    if _suffix(place) in ARCHIVE_SUFFIXES:
        try:
            yield from _in_archive(place)
        except InputError as error:
            yield _file(place, fault=str(error))
    else:
        yield _file(place, boxes=boxes)


def _in_parquet(place: str) -> Iterator[Photo]:
    """The photos whose bytes a parquet file holds, or that it names, with boxes if it has them."""
    import pyarrow as pa
    from pyarrow import parquet

    with places.open_file(place) as file:
        try:
            table = parquet.ParquetFile(file)
            schema, names = table.schema_arrow, table.schema_arrow.names
            image, uri = image_column(schema), _column(names, URI_COLUMNS)
            if image is None and uri is None:
                raise InputError(
                    f"SOURCE {place} has neither photos ({', '.join(IMAGE_COLUMNS)}) nor their "
                    f"names ({', '.join(URI_COLUMNS)}), but columns {', '.join(names)[:200]}"
                )
            inner = f"{image}.path" if image and _has_field(schema, image, "path") else None
            for row, (name, boxes) in enumerate(_named_rows(table, uri or inner, place)):
                if image is not None:
                    own = str(name or row).lstrip("/")
                    there = places.below(place, own)
                    yield Photo(there, own, place, row=row, boxes=boxes)
                elif name:
                    yield from _named(name, boxes)
                else:
                    yield _file(place, fault=f"{place}, row {row}: there is no name of a photo")
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"SOURCE {place} is no parquet file that can be read: {error}"
            ) from error


def _named_rows(
    table: parquet.ParquetFile, column: str | None, place: str
) -> Iterator[tuple[str | None, ImageBoxes | None]]:
    """Each row's name, which is in a column or in a field ``column.field``, and its boxes."""
    outer, _, inner = (column or "").partition(".")
    names = table.schema_arrow.names
    kept = [column] if column else []
    kept += [name for name in ("boxes", "scores", "box_ids") if name in names]
    for row, fields in enumerate(
        fields for batch in table.iter_batches(8192, columns=kept) for fields in batch.to_pylist()
    ):
        value = fields.get(outer)
        name = (value or {}).get(inner) if inner else value
        yield name, _boxes(fields, place, row)


def image_column(schema: pa.Schema) -> str | None:
    """The column of a parquet file that holds photos: bytes, or a struct with a field ``bytes``."""
    import pyarrow as pa

    binary = (pa.types.is_binary, pa.types.is_large_binary)
    for name in IMAGE_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            if any(is_kind(kind) for is_kind in binary) or _has_field(schema, name, "bytes"):
                return name
    return None


def _has_field(schema: pa.Schema, column: str, field: str) -> bool:
    import pyarrow as pa

    kind = schema.field(column).type
    return bool(pa.types.is_struct(kind) and kind.get_field_index(field) >= 0)


def _boxes(fields: Mapping[str, Any], place: str, row: int) -> ImageBoxes | None:
    """The boxes of a row: ``boxes`` as lists x1, y1, x2, y2, perhaps ``scores`` and ``box_ids``."""
    if (boxes := fields.get("boxes")) is None:
        return None
    scores, ids = fields.get("scores"), fields.get("box_ids")
    if any(len(box) != 4 for box in boxes) or any(
        values is not None and len(values) != len(boxes) for values in (scores, ids)
    ):
        raise InputError(
            f"SOURCE {place}, row {row}: boxes must be lists x1, y1, x2, y2, and scores and "
            "box_ids, where given, as many"
        )
    return ImageBoxes.from_rows(
        BoxRow(
            tuple(map(float, box)), 1.0 if scores is None else float(scores[number]),
            f"{place}, row {row}, box {number}", None if ids is None else int(ids[number]),
        )
        for number, box in enumerate(boxes)
    )  # fmt: skip


def _column(names: Sequence[str], known: Sequence[str]) -> str | None:
    return next((name for name in known if name in names), None)


Reader = Callable[[str], Iterator[Photo]]
_FILES: dict[str, Reader] = {
    ".parquet": _in_parquet,
    **dict.fromkeys(ARCHIVE_SUFFIXES, _in_archive),
}
_LISTS: dict[str, Reader] = {".txt": _in_lines, ".csv": _in_csv}

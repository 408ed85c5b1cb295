"""Photos for the tests of ``fleet``, and a job's blocks done without any engine."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from human_edge_detection.core.images import read_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.data.sample import draw_crowd
from human_edge_detection.fleet import places
from human_edge_detection.fleet.blocks import ReadBlock, SegmentBlock
from human_edge_detection.fleet.fetch import PhotoBytes
from human_edge_detection.fleet.job import Job, begun
from human_edge_detection.fleet.options import FleetOptions

SIZES_HW = ((96, 128), (160, 120), (120, 120))


def kill_reader(photo: PhotoBytes, *, max_pixels: int) -> ImageArray:
    """What a decoder may do. It is here because a child cannot import a test module."""
    if photo.data == b"KILL":
        os._exit(9)
    return read_image(photo, max_pixels=max_pixels)


def photo_bytes(number: int) -> bytes:
    """A drawn crowd of three as a JPEG."""
    image, _, _ = draw_crowd([7, number], SIZES_HW[number % len(SIZES_HW)], 3)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_photos(folder: Path, count: int, distinct: int = 4) -> Path:
    """Photos 100.jpg, 101.jpg, …, of which every so many are equal."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [photo_bytes(number) for number in range(min(count, distinct))]
    for number in range(count):
        (folder / f"{100 + number}.jpg").write_bytes(files[number % distinct])
    return folder


def write_boxes(path: Path, count: int) -> Path:
    """COCO annotations with two people for each of these photos, and one box that is empty."""
    images, people = [], []
    for number in range(count):
        height, width = SIZES_HW[number % 4 % len(SIZES_HW)]
        name = f"{100 + number}.jpg"
        images.append({"id": 500 + number, "file_name": name, "height": height, "width": width})
        for place, box in enumerate(([10, 10, 50, 70], [40.5, 20, 60, 70], [5, 5, 0, 9])):
            people.append(
                {"id": 10 * number + place, "image_id": 500 + number, "category_id": 1, "bbox": box}
            )
    categories = [{"id": 1, "name": "person"}]
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": categories}))
    return path


def do_blocks(job: Job, options: FleetOptions, most: int | None = None) -> list[dict[str, Any]]:
    """Work on the blocks that are not done, at most so many, one after another in this process."""
    worker = SegmentBlock(job, options.segment, options.segment.fingerprint())
    read, found = ReadBlock(job.manifest), []
    for block in job.unfinished()[:most]:
        found += worker(read(pa.table({"block": [block]}))).to_pylist()
    return found


def do_job(options: FleetOptions) -> list[dict[str, Any]]:
    """All rows of a job's results, which is done in this process."""
    with begun(options) as job:
        do_blocks(job, options)
        return results(options.output)


def results(output: str | Path) -> list[dict[str, Any]]:
    """All rows of an output's results, in the order of the photos."""
    folder = places.below(str(output), "masks")
    rows = []
    for name in sorted(places.names_in(folder)):
        with places.open_file(places.below(folder, name)) as file:
            rows += parquet.ParquetFile(file).read().to_pylist()
    return sorted(rows, key=lambda row: row["id"])

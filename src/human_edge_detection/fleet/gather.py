"""The command ``gather``: COCO results, drawn photos and a summary out of ``fleet``'s files."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import plain_name, replacing, write_atomically
from human_edge_detection.core.images import read_image, save_image
from human_edge_detection.core.rle import decode_rle
from human_edge_detection.fleet import places
from human_edge_detection.fleet.fetch import Fetcher, PhotoBytes, RowFailure
from human_edge_detection.fleet.job import Job, read_job
from human_edge_detection.fleet.manifest import photo_of, read_block
from human_edge_detection.fleet.options import GatherOptions
from human_edge_detection.inference.boxes import MAX_DIGITS
from human_edge_detection.masks.drawing import draw_people

if TYPE_CHECKING:
    import pyarrow as pa

MOST_LISTED = 10_000
"""Photos with errors that the summary names."""


def run_gather(options: GatherOptions) -> int:
    """Write what the options say, print the summary, and return 0, or 1 if blocks are missing.

    Raises:
        InputError: there are no results, or the folder cannot be written.
    """
    job = read_job(places.full(options.results))
    blocks = sorted(job.finished())
    if not blocks:
        raise InputError(f"OUTPUT {job.output} has no finished block yet: run fleet on")
    ids = _image_ids(job, blocks)
    summary = Summary(job.photos, job.size(blocks))
    _write_predictions(options.output / "predictions.json", job, blocks, ids, summary)
    drawn = random.Random(options.seed).sample(
        range(summary.finished), min(options.overlays, summary.finished)
    )
    summary.drawn = _draw(options.output / "overlay", job, blocks, drawn)
    summary.write(options.output / "summary.json")
    summary.show(options.output)
    return 0 if summary.finished == job.photos else 1


def _tables(job: Job, blocks: list[int], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The results of each block, in the order of the photos."""
    from pyarrow import parquet

    for block in blocks:
        with places.open_file(job.result(block), 1 << 20) as file:
            yield parquet.ParquetFile(file).read(columns)


def _image_ids(job: Job, blocks: list[int]) -> NDArray[np.int64]:
    """An image id for each photo, in their order: as ``predict`` would number them.

    The box file's, else the number that is the file's name, else the photo's place; where two
    photos would share one, every photo has its place.
    """
    ids = np.empty((2, job.size(blocks)), np.int64)
    at = 0
    for table in _tables(job, blocks, ["id", "uri", "image_id"]):
        for row in table.to_pylist():
            stem = row["uri"].rpartition("/")[2].rpartition(".")[0]
            is_number = stem.isdecimal() and len(stem) < MAX_DIGITS
            own = int(stem) if is_number else row["id"] + 1
            ids[:, at] = own if row["image_id"] is None else row["image_id"], row["id"] + 1
            at += 1
    chosen: NDArray[np.int64] = ids[1] if len(np.unique(ids[0])) < at else ids[0]
    return chosen


def _write_predictions(
    path: Path, job: Job, blocks: list[int], ids: NDArray[np.int64], summary: Summary
) -> None:
    """Write COCO results, one a line, and count."""
    at, is_first = 0, True
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write("[")
        for table in _tables(job, blocks):
            for row in table.to_pylist():
                summary.add(row)
                for person in row["people"]:
                    result = coco_result(row, person, int(ids[at]))
                    file.write(("\n" if is_first else ",\n") + json.dumps(result))
                    is_first = False
                at += 1
        file.write("\n]\n")


def coco_result(row: dict[str, Any], person: dict[str, Any], image_id: int) -> dict[str, Any]:
    """A person as ``predict`` writes it."""
    result: dict[str, Any] = {"image_id": image_id, "file_name": row["file_name"]}
    if person["box_id"] is not None:
        result["annotation_id"] = person["box_id"]
    size = [row["height"], row["width"]]
    return result | {
        "category_id": 1,
        "bbox": person["bbox"],
        "score": person["score"],
        "segmentation": {"size": size, "counts": person["counts"]},
    }


def _draw(folder: Path, job: Job, blocks: list[int], wanted: list[int]) -> int:
    """Draw some photos, by their place among those finished; those without masks are left out."""
    chosen: dict[int, list[int]] = {}
    for place in wanted:
        chosen.setdefault(blocks[place // job.block], []).append(place % job.block)
    fetch, count = Fetcher(), 0
    for block, rows in sorted(chosen.items()):
        (results,) = _tables(job, [block])
        photos = read_block(job.manifest, block).to_pylist()
        for row in (row for row in rows if row < len(results)):
            found = results.slice(row, 1).to_pylist()[0]
            if found["error"] is not None:
                continue
            try:
                photo = photo_of(photos[row])
                image = read_image(PhotoBytes(photo.uri, fetch(photo)))
            except (InputError, RowFailure):  # it was there when it was segmented
                continue
            height, width = image.shape[:2]
            rles = [{"size": [height, width], "counts": own["counts"]} for own in found["people"]]
            masks = [(decode_rle(rle), (0, 0, width, height)) for rle in rles]
            texts = [str(number + 1) for number in range(len(masks))]
            name = f"{found['id']:08}_{plain_name(photo.name).replace('/', '_')}"
            save_image((folder / name).with_suffix(".jpg"), draw_people(image, masks, texts=texts))
            count += 1
    return count


@dataclass
class Summary:
    """What a job came to.

    Attributes:
        photos: photos of the job.
        finished: photos whose block is written.
        people: people in them.
        empty: photos without people, and without an error.
        seconds: a worker's time for all of them.
        faults: boxes that were left out.
        errors: photos with errors by the step at which they were met.
        listed: the first of them, by name and error.
        drawn: photos that were drawn.
    """

    photos: int
    finished: int
    people: int = 0
    empty: int = 0
    seconds: float = 0
    faults: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    listed: list[dict[str, str]] = field(default_factory=list)
    drawn: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """Count a row of the results."""
        self.people += len(row["people"])
        self.seconds += row["seconds"]
        self.faults += len(row["faults"])
        if row["error"] is None:
            self.empty += not row["people"]
            return
        self.errors[row["error_kind"]] += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append({key: row[key] for key in ("uri", "error_kind", "error")})

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_atomically(path, (json.dumps(vars(self), indent=1) + "\n").encode())

    def show(self, folder: Path) -> None:
        """Print it."""
        print(f"{self.finished} of {self.photos} photos, {self.people} people, in {folder}")
        rate = 1000 * self.seconds / max(self.finished, 1)
        print(f"  {self.empty} photos without people; {rate:.0f} ms of a worker for a photo")
        for kind, count in self.errors.most_common():
            print(f"  {count} with errors, met at: {kind}")
        if self.faults:
            print(f"  {self.faults} boxes left out")

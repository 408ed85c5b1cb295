"""A job in its output: the settings and photos it was begun with, and the blocks that are done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from human_edge_detection.core import version_text
from human_edge_detection.core.errors import InputError
from human_edge_detection.fleet import places
from human_edge_detection.fleet.manifest import PhotosWithBoxes, write_manifest
from human_edge_detection.fleet.options import FleetOptions
from human_edge_detection.fleet.sources import Photo, find_photos
from human_edge_detection.inference.box_files import open_boxes
from human_edge_detection.inference.resume_log import check_settings, file_settings, reserved

JOB_NAME = "job.json"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Job:
    """A job whose photos are listed.

    Attributes:
        output: the folder of everything, as a path or URI.
        settings: what the results depend on, by flag.
        photos: number of photos.
        block: photos of a block.
        left_out: photos that are not part of it, because the box file does not know them.
    """

    output: str
    settings: dict[str, Any]
    photos: int
    block: int
    left_out: int

    @property
    def manifest(self) -> str:
        """The folder of the manifest."""
        return places.below(self.output, "manifest")

    @property
    def results(self) -> str:
        """The folder of the results, one file a block."""
        return places.below(self.output, "masks")

    def result(self, block: int) -> str:
        """The file of a block's results."""
        return places.below(self.results, f"{block:07}.parquet")

    def mark(self, block: int) -> str:
        """The file that is there while a block is worked on, and after a worker died over it."""
        return places.below(self.output, "started", f"{block:07}")

    def finished(self) -> set[int]:
        """The blocks whose results are written."""
        names = (name.partition(".") for name in places.names_in(self.results))
        return {int(stem) for stem, _, suffix in names if suffix == "parquet" and stem.isdecimal()}

    def unfinished(self) -> list[int]:
        """The other blocks."""
        finished = self.finished()
        return [block for block in range(-(-self.photos // self.block)) if block not in finished]

    def size(self, blocks: Iterable[int]) -> int:
        """The number of photos in some blocks."""
        return sum(min(self.block, self.photos - block * self.block) for block in blocks)


@contextmanager
def begun(options: FleetOptions) -> Iterator[Job]:
    """The job of an output, begun or continued; a folder on disk is kept from a second run.

    Raises:
        InputError: the output holds results of other settings, or a source or file is unusable.
    """
    output = places.full(options.output)
    with reserved(Path(output)) if places.is_local(output) else nullcontext():
        settings = _settings(options)
        if not places.exists(places.below(output, JOB_NAME)):
            yield _begin(options, output, settings)
            return
        job = read_job(output)
        check_settings(output, job.settings, settings, "name another output")
        yield job


def _begin(options: FleetOptions, output: str, settings: dict[str, Any]) -> Job:
    """List the photos; the job's file comes last, so that a list that was cut off is made anew."""
    photos: Iterable[Photo] = find_photos(options.source, options.recursive, output)
    if options.boxes is not None:
        boxes = open_boxes(options.boxes, options.boxes_format, options.person_class)
        photos = PhotosWithBoxes(photos, boxes)
    manifest = places.below(output, "manifest")
    count = write_manifest(manifest, photos, options.block)
    left_out = photos.left_out if isinstance(photos, PhotosWithBoxes) else 0
    if not count:
        raise InputError(
            f"--boxes {options.boxes} names none of the {left_out} photos: they are matched by "
            "file name"
        )
    job = Job(output, settings, count, options.block, left_out)
    content = {**vars(job), "version": version_text()}
    del content["output"]
    places.write(places.below(output, JOB_NAME), json.dumps(content, indent=1).encode())
    return job


def read_job(output: str) -> Job:
    """The job of an output.

    Raises:
        InputError: there is none, or its file is damaged.
    """
    place = places.below(output, JOB_NAME)
    if not places.exists(place):
        raise InputError(f"OUTPUT {output} holds no results of fleet: there is no {JOB_NAME}")
    try:
        content = json.loads(places.read(place, _MOST_BYTES))
        return Job(
            output, dict(content["settings"]), int(content["photos"]), int(content["block"]),
            int(content["left_out"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place} is damaged ({error}): name another output") from error


def _settings(options: FleetOptions) -> dict[str, Any]:
    """Everything that the results depend on, as text that a message can show."""
    names = (
        "recursive", "threshold", "score", "fuse", "person_class", "image_size",
        "max_pixels", "max_people", "block",
    )  # fmt: skip
    sources = ", ".join(map(places.full, options.source))
    settings: dict[str, Any] = {"SOURCE": sources}
    settings |= {f"--{name}": getattr(options, name) for name in names}
    return settings | file_settings(options.segment.files(), options.boxes)

"""Runs ``predict`` over many files: reading, inference and writing overlap, in bounded memory."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tqdm import tqdm

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import PreparedImage, read_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.inference.background import BackgroundWriter, read_ahead
from human_edge_detection.inference.boxes import BoxFile, ImageBoxes
from human_edge_detection.inference.options import PredictOptions
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.resume_log import ResumeLog
from human_edge_detection.inference.sources import Frame, Source, VideoReader
from human_edge_detection.inference.writers import Output, Picture, open_film, write_picture
from human_edge_detection.masks.instance_masks import InstanceMasks


@dataclass(frozen=True)
class Job:
    """One file to process.

    Attributes:
        source: the file.
        box_key: its entry in the box file, or None.
        wanted_id: the image id it gets if no other file has it.
    """

    source: Source
    box_key: str | None
    wanted_id: int


@dataclass(frozen=True)
class Photo:
    """A photo that was read and prepared, with its boxes if a box file has them."""

    image: ImageArray
    prepared: PreparedImage
    boxes: ImageBoxes | None = None


@dataclass
class Tally:
    """Counts of a run.

    Attributes:
        done: files finished in this run.
        pictures: photos and video frames finished in this run.
        people: people in them.
        failed: one line per file that was skipped, with the reason.
        started: when the run began, seconds of ``perf_counter``.
        lock: guards the numbers.
    """

    done: int = 0
    pictures: int = 0
    people: int = 0
    failed: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, source: Source, error: Exception) -> None:
        """Record a skipped file and print it at once."""
        text = str(error) if str(source.path) in str(error) else f"{source.path}: {error}"
        self.failed.append(text)
        tqdm.write(f"skipped: {text}", file=sys.stderr)

    def count(self, people: int) -> None:
        """Record one finished photo or frame; may be called from several threads."""
        with self.lock:
            self.pictures += 1
            self.people += people

    def finish(self) -> None:
        """Record one finished file."""
        with self.lock:
            self.done += 1

    @property
    def seconds(self) -> float:
        """Seconds since the beginning of the run."""
        return time.perf_counter() - self.started


class PredictRun:
    """One run over many files: reading, inference and writing overlap."""

    def __init__(
        self,
        options: PredictOptions,
        predictor: MaskPredictor,
        boxes: BoxFile | None,
        log: ResumeLog,
        tally: Tally,
    ) -> None:
        """Use open resources; nothing runs yet."""
        self._options, self._predictor, self._boxes = options, predictor, boxes
        self._log, self._tally = log, tally
        self._output = Output(
            options.output, options.save_kinds, options.threshold, options.draw_boxes
        )

    def work(self, jobs: list[Job]) -> None:
        """Process all files; those that cannot be read are recorded and skipped.

        Raises:
            InputError: the output cannot be written, which ends the run.
        """
        photos = [job for job in jobs if not job.source.is_video]
        videos = [job for job in jobs if job.source.is_video]
        if photos:
            self._do_photos(photos)
        for job in videos:
            try:
                reader = VideoReader(job.source.path)
            except InputError as error:
                self._tally.fail(job.source, error)
                continue
            try:
                self._do_video(job, reader)
            finally:
                reader.close()

    def _do_photos(self, jobs: list[Job]) -> None:
        workers = self._options.workers
        with (
            BackgroundWriter(workers) as writer,
            tqdm(total=len(jobs), unit="images", dynamic_ncols=True, disable=None) as bar,
        ):
            for job, photo in read_ahead(self._read, jobs, workers):
                try:
                    if isinstance(photo, Exception):
                        raise photo
                    masks = self._segment(photo)
                except InputError as error:
                    self._tally.fail(job.source, error)
                else:
                    writer.submit(partial(self._write, job, photo, masks))
                bar.update()

    def _read(self, job: Job) -> Photo:
        image = read_image(job.source.file)
        boxes = None
        if self._boxes is not None and job.box_key is not None:
            boxes = self._boxes.read(job.box_key).for_photo((image.shape[0], image.shape[1]))
        return Photo(image, self._predictor.prepare(image), boxes)

    def _segment(self, photo: Photo) -> InstanceMasks:
        given: dict[str, Any] = {}
        if (boxes := photo.boxes) is not None:
            given = {
                "boxes_xyxy": boxes.boxes_xyxy, "scores": boxes.scores,
                "ids": boxes.annotation_ids,
            }  # fmt: skip
        score, prepared = self._options.score, photo.prepared
        return self._predictor.segment(photo.image, score, prepared=prepared, **given)

    def _write(self, job: Job, photo: Photo, masks: InstanceMasks) -> None:
        boxes = photo.boxes
        wanted = job.wanted_id if boxes is None or boxes.image_id is None else boxes.image_id
        name, image_id = self._log.claim(job.source, wanted)
        assert image_id is not None
        file_name = (boxes and boxes.file_name) or job.source.name
        picture = Picture(name, photo.image, masks, image_id, file_name)
        results = write_picture(self._output, picture)
        faults = [f"{job.source.path}: {fault}" for fault in (boxes.faults if boxes else ())]
        self._log.add(job.source, name, image_id=image_id, results=results, faults=faults)
        self._tally.finish()
        self._tally.count(len(masks))

    def _do_video(self, job: Job, reader: VideoReader) -> None:
        options, source = self._options, job.source
        name, _ = self._log.claim(source, None)
        faults: list[str] = []
        total = -(-reader.count // options.every) or None
        with (
            open_film(self._output, name, reader.fps / options.every) as add,
            BackgroundWriter(1) as writer,
            tqdm(total=total, unit="images", desc=source.name, dynamic_ncols=True,
                 disable=None) as bar,
        ):  # fmt: skip
            for frame in self._frames(reader):
                if isinstance(frame, Exception):
                    self._tally.fail(source, frame)
                    faults.append(str(frame))
                    continue
                masks = self._segment(Photo(frame[0].image, frame[1]))
                writer.submit(partial(add, frame[0], masks))
                self._tally.count(len(masks))
                bar.update()
        self._log.add(source, name, results=[], faults=faults)
        self._tally.finish()

    def _frames(self, reader: VideoReader) -> Iterator[tuple[Frame, PreparedImage] | Exception]:
        """Decoded and prepared frames; a thread makes the next one while the last is processed."""
        frames = reader.frames(self._options.every)

        def take(_: int) -> tuple[Frame, PreparedImage] | None:
            frame = next(frames, None)
            return None if frame is None else (frame, self._predictor.prepare(frame.image))

        for _, taken in read_ahead(take, itertools.count(), 1):
            if taken is None:
                return
            yield taken

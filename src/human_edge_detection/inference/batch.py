"""Runs ``predict`` over many files: reading, inference and writing overlap, in bounded memory."""

from __future__ import annotations

import errno
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from human_edge_detection.core.errors import one_line
from human_edge_detection.core.images import PreparedImage
from human_edge_detection.inference.background import BackgroundWriter, read_ahead
from human_edge_detection.inference.boxes import BoxFile
from human_edge_detection.inference.options import PredictOptions
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.resume_log import ResumeLog
from human_edge_detection.inference.segment import Photo, reason, segment_photos
from human_edge_detection.inference.sources import Frame, Source, VideoReader, stamp_of
from human_edge_detection.inference.video_tracker import VideoTracker
from human_edge_detection.inference.writers import Output, Picture, open_film, write_picture
from human_edge_detection.masks.instance_masks import InstanceMasks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One file to process.

    Attributes:
        source: the file.
        box_key: its entry in the box file, or None.
        wanted_id: the image id it gets if no other file has it.
        box_file: the file that holds its boxes alone, or None.
    """

    source: Source
    box_key: str | None
    wanted_id: int
    box_file: Path | None = None

    def stamp(self) -> list[int] | None:
        """Sizes and times of the file and of its own box file; None if the file is gone."""
        own = self.source.stamp()
        if own is None or self.box_file is None:
            return own
        return own + (stamp_of(self.box_file) or [])


_OUTPUT_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
    errno.ENFILE,
)  # fmt: skip


def _is_of_output(error: Exception) -> bool:
    """Whether an error while results are written would meet every other file too."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _OUTPUT_ERRORS


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
        """Record a skipped file and print it at once; may be called from several threads."""
        text = reason(error)
        text = text if str(source.path) in text else f"{source.path}: {text}"
        self.failed.append(one_line(text))
        tqdm.write(f"skipped: {self.failed[-1]}", file=sys.stderr)
        logger.debug("skipped", exc_info=error)

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
        """Use open resources; nothing runs yet.

        Raises:
            InputError: videos cannot be tracked here.
        """
        self._options, self._predictor, self._boxes = options, predictor, boxes
        self._log, self._tally = log, tally
        self._output = Output(
            options.output, options.save_kinds, options.threshold, options.draw_boxes
        )
        if options.track:
            VideoTracker(predictor)  # raises before the first file if a package is missing

    def work(self, jobs: list[Job]) -> None:
        """Process all files; one that fails, for whatever reason, is recorded and skipped.

        Raises:
            InputError: the output cannot be written, which ends the run.
        """
        if photos := [job for job in jobs if not job.source.is_video]:
            self._do_photos(photos)
        for job in jobs:
            if job.source.is_video:
                with self._skipping(job.source):
                    self._do_video(job)

    @contextmanager
    def _skipping(self, source: Source, *, writes: bool = True) -> Iterator[None]:
        """Record any error in the block as that of one file; one of the output is raised."""
        try:
            yield
        except Exception as error:
            if writes and _is_of_output(error):
                raise
            self._tally.fail(source, error)

    def _do_photos(self, jobs: list[Job]) -> None:
        workers = self._options.workers
        with (
            BackgroundWriter(workers) as writer,
            tqdm(total=len(jobs), unit="images", dynamic_ncols=True, disable=None) as bar,
        ):
            for job, photo in read_ahead(self._read, jobs, workers):
                finish = None
                with self._skipping(job.source, writes=False):
                    if isinstance(photo, Exception):
                        raise photo
                    finish = self._finisher(job, photo, self._segment(photo))
                if finish is not None:
                    writer.submit(finish)
                bar.update()

    def _read(self, job: Job) -> Photo:
        stamp = job.stamp()
        image = job.source.read(self._options.max_pixels)
        boxes = None
        if self._boxes is not None and job.box_key is not None:
            found = self._boxes.read(job.box_key).for_photo((image.shape[0], image.shape[1]))
            boxes = found.at_most(self._options.max_people, job.source.path)
        return Photo(image, self._predictor.prepare(image), boxes, stamp)

    def _segment(self, photo: Photo) -> InstanceMasks:
        return segment_photos(self._predictor, [photo], self._options.score)[0]

    def _finisher(self, job: Job, photo: Photo, masks: InstanceMasks) -> Callable[[], None]:
        """The job that writes a photo's results; their name is given here, in order of photos."""
        boxes, source = photo.boxes, job.source
        wanted = job.wanted_id if boxes is None or boxes.image_id is None else boxes.image_id
        name, image_id = self._log.claim(source, wanted)
        assert image_id is not None
        file_name = (boxes and boxes.file_name) or source.name
        picture = Picture(name, photo.image, masks, image_id, file_name)
        faults = [f"{source.path}: {fault}" for fault in (boxes.faults if boxes else ())]

        def write() -> None:
            with self._skipping(source):
                results = write_picture(self._output, picture)
                self._log.add(
                    source, name, photo.stamp, image_id=image_id, results=results, faults=faults
                )
                self._tally.finish()
                self._tally.count(len(masks))

        return write

    def _do_video(self, job: Job) -> None:
        """Write a video's results; those of a video that is cut off remain, but do not count."""
        options, source = self._options, job.source
        stamp, fault, done = source.stamp(), None, 0
        with VideoReader(source.path, options.max_pixels) as reader:
            name, _ = self._log.claim(source, None)
            fps, total = reader.fps / options.every, -(-reader.count // options.every) or None
            tracker = VideoTracker(self._predictor, fps, options.score) if options.track else None
            with (
                open_film(self._output, name, fps) as add,
                BackgroundWriter(1) as writer,
                tqdm(total=total, unit="images", desc=one_line(source.name, 60),
                     dynamic_ncols=True, disable=None) as bar,
            ):  # fmt: skip
                for frame in self._frames(reader):
                    if isinstance(frame, Exception):
                        fault = frame
                        break
                    shown, prepared = frame
                    if tracker is not None:
                        masks = tracker.segment(shown.image, prepared=prepared)
                    else:
                        masks = self._segment(Photo(shown.image, prepared))
                    writer.submit(partial(add, shown, masks))
                    self._tally.count(len(masks))
                    done += 1
                    bar.update()
                if fault is not None and done == 0:
                    raise fault
        if fault is not None:
            raise fault
        self._log.add(source, name, stamp, results=[], faults=[])
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

"""The work of ``predict``: photos and videos through the predictor, results onto the disk.

Lets reading, inference and writing run at the same time, with bounded memory and in order.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import PreparedImage, read_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.inference.boxes import BoxFile, ImageBoxes
from human_edge_detection.inference.options import PredictOptions
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.resume_log import Ledger
from human_edge_detection.inference.sources import Source
from human_edge_detection.inference.writers import (
    Frame,
    ResultFiles,
    VideoReader,
    VideoWriter,
)
from human_edge_detection.masks.instance_masks import InstanceMasks

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result | InputError]]:
    """Each item with the function's result, in order, while threads work on the next ones.

    Args:
        function: what the threads do.
        items: taken one by one, never more than twice ``workers`` ahead.
        workers: number of threads.

    Yields:
        the item, and its result or the ``InputError`` that it raised; other errors are raised.
    """
    pending: deque[tuple[Item, Future[Result | InputError]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(_attempt, function, item)))
                if len(pending) > 2 * workers:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | InputError:
    try:
        return function(item)
    except InputError as error:
        return error


class BackgroundWriter:
    """Threads that write results; handing over waits when too many are unwritten.

    Used as a context manager, which waits for the last one. With one worker, jobs run in the
    order in which they were handed over.
    """

    def __init__(self, workers: int) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
        self._room = threading.Semaphore(2 * workers)
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Hand over a job.

        Raises:
            BaseException: what an earlier job raised; the job is not taken then.
        """
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        self._pool.submit(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            if self._error is None:
                job()
        except BaseException as error:  # handed to the thread that submits, which raises it
            self._error = self._error or error
        finally:
            self._room.release()

    def __enter__(self) -> BackgroundWriter:
        """The writer itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait for all jobs; raise what one of them raised, unless something else is raised."""
        self._pool.shutdown(wait=True)
        if error is None and self._error is not None:
            raise self._error


@dataclass(frozen=True)
class Job:
    """One file to do.

    Attributes:
        source: the file.
        box_key: its entry in the box file, or None.
        wanted_id: the image id it gets if nothing speaks against it.
    """

    source: Source
    box_key: str | None
    wanted_id: int


@dataclass(frozen=True)
class Photo:
    """A photo that was read, ready for the network."""

    image: ImageArray
    prepared: PreparedImage
    boxes: ImageBoxes | None


@dataclass
class Tally:
    """What has happened so far.

    Attributes:
        done: files finished in this run.
        pictures: photos and video frames finished in this run.
        people: people in them.
        failed: what went wrong, one line per file.
        started: when the run began, seconds of ``perf_counter``.
        lock: guards the numbers.
    """

    done: int = 0
    pictures: int = 0
    people: int = 0
    failed: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, source: Source, error: InputError) -> None:
        """Note a file that was skipped, and say so at once."""
        text = str(error) if str(source.path) in str(error) else f"{source.path}: {error}"
        self.failed.append(text)
        tqdm.write(f"skipped: {text}", file=sys.stderr)

    def count(self, people: int) -> None:
        """Note one finished photo or frame; several writing threads do."""
        with self.lock:
            self.pictures += 1
            self.people += people

    def finish(self) -> None:
        """Note one finished file."""
        with self.lock:
            self.done += 1

    @property
    def seconds(self) -> float:
        """Since the beginning of the run."""
        return time.perf_counter() - self.started


class PredictRun:
    """One run over many files: reading, inference and writing overlap."""

    def __init__(
        self,
        options: PredictOptions,
        predictor: MaskPredictor,
        boxes: BoxFile | None,
        ledger: Ledger,
        tally: Tally,
    ) -> None:
        """Use what is open already; nothing is run yet."""
        self._options, self._predictor, self._boxes = options, predictor, boxes
        self._ledger, self._tally = ledger, tally
        self._files = ResultFiles(
            options.output, options.save_kinds, options.threshold, options.draw_boxes
        )

    def work(self, jobs: list[Job]) -> None:
        """Do all files; those that cannot be read are noted and skipped.

        Raises:
            InputError: the output cannot be written, so going on makes no sense.
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
                    if isinstance(photo, InputError):
                        raise photo
                    masks = self._segment(photo.image, photo.prepared, photo.boxes)
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

    def _segment(
        self, image: ImageArray, prepared: PreparedImage, boxes: ImageBoxes | None
    ) -> InstanceMasks:
        if boxes is None:
            return self._predictor.segment(image, self._options.score, prepared=prepared)
        encoded = self._predictor.encode(prepared, self._options.score)
        return self._predictor.decode(encoded, boxes.boxes_xyxy, boxes.scores, boxes.annotation_ids)

    def _write(self, job: Job, photo: Photo, masks: InstanceMasks) -> None:
        boxes = photo.boxes
        known_id = None if boxes is None else boxes.image_id
        wanted_id = job.wanted_id if known_id is None else known_id
        name, image_id = self._ledger.claim(job.source, wanted_id)
        self._files.write(name, photo.image, masks)
        file_name = (boxes and boxes.file_name) or job.source.name
        results = []
        if "coco" in self._options.save_kinds and image_id is not None:
            results = masks.to_coco(image_id, file_name, threshold=self._options.threshold)
        faults = [f"{job.source.path}: {fault}" for fault in (boxes.faults if boxes else ())]
        self._ledger.add(job.source, name, image_id=image_id, results=results, faults=faults)
        self._tally.finish()
        self._tally.count(len(masks))

    def _do_video(self, job: Job, reader: VideoReader) -> None:
        options, source = self._options, job.source
        name, _ = self._ledger.claim(source, None)
        faults: list[str] = []
        total = -(-reader.count // options.every) or None
        with (
            VideoWriter(self._files, name, reader.fps / options.every) as movie,
            BackgroundWriter(1) as writer,
            tqdm(total=total, unit="images", desc=source.name, dynamic_ncols=True,
                 disable=None) as bar,
        ):  # fmt: skip
            for frame in self._frames(reader):
                if isinstance(frame, InputError):
                    self._tally.fail(source, frame)
                    faults.append(str(frame))
                    continue
                masks = self._segment(frame[0].image, frame[1], None)
                writer.submit(partial(movie.add, frame[0], masks))
                self._tally.count(len(masks))
                bar.update()
        self._ledger.add(source, name, results=[], faults=faults)
        self._tally.finish()

    def _frames(self, reader: VideoReader) -> Iterator[tuple[Frame, PreparedImage] | InputError]:
        """Decoded and prepared frames, made by one thread while the last one is worked on."""
        frames = reader.frames(self._options.every)

        def take(_: int) -> tuple[Frame, PreparedImage] | None:
            frame = next(frames, None)
            return None if frame is None else (frame, self._predictor.prepare(frame.image))

        for _, taken in read_ahead(take, itertools.count(), 1):
            if taken is None:
                return
            yield taken

"""The work on one photo: in a thread of its own, stage by stage, until nobody waits any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import msgspec
import numpy as np
from starlette.types import Receive

from human_edge_detection.core.errors import InputError, TooManyPixels
from human_edge_detection.core.images import read_image
from human_edge_detection.core.structures import Detections, ImageArray
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.serving.formats import FORMATS, JSON, Cut
from human_edge_detection.serving.gate import CLIENT_GONE, Places, Problem
from human_edge_detection.serving.request import DetectParameters, Given, SegmentParameters

Found = TypeVar("Found")


@dataclass
class Job:
    """One photo's work.

    Attributes:
        seconds: of each stage that is finished.
        is_given_up: nobody waits for the answer any more.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    is_given_up: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, unless the work was given up before it."""
        if self.is_given_up:
            raise Problem(CLIENT_GONE, "gone", "nobody waits for this answer")
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


class Workers:
    """Threads that work on one photo each; a job's place is free when its thread is."""

    def __init__(self, count: int, places: Places, seconds: float) -> None:
        """Start ``count`` threads; each answer is waited for ``seconds`` at most."""
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._places, self._seconds = places, seconds

    async def run(self, receive: Receive, work: Callable[[Job], Found]) -> Found:
        """What the work returns.

        Raises:
            Problem: it took too long, or the client left meanwhile.
        """
        loop, job = asyncio.get_running_loop(), Job()
        future = self._pool.submit(work, job)
        try:  # until the client leaves, unless the work or the time ends before
            with anyio.move_on_after(self._seconds) as waiting:
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(waiting.cancel))
                await _until_gone(receive)
            if future.done():
                return future.result()
            if not waiting.cancelled_caught:
                raise Problem(CLIENT_GONE, "gone", "the client closed the connection")
            raise Problem(
                504, "late",
                f"there was no answer within {self._seconds:g} s: try again when the server is "
                "less busy, or send a smaller photo or fewer boxes",
            )  # fmt: skip
        finally:
            job.is_given_up = True
            if not future.done() and not future.cancel():  # its place stays taken until it ends
                self._places.taken += 1
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._places.free))

    def close(self) -> None:
        """Wait for the threads."""
        self._pool.shutdown()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class Answer:
    """A result.

    Attributes:
        content: the answer's bytes.
        media_type: their kind.
        people: number of people.
        seconds: of each stage.
    """

    content: bytes
    media_type: str
    people: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class PhotoWork:
    """What the routes do with a photo, in a worker's thread.

    Attributes:
        predictor: the open model.
        max_pixels: a photo of more pixels is refused before it is decoded.
        max_people: most boxes that may be given, and best people that are used.
        model: what JSON answers say about the model.
    """

    predictor: MaskPredictor
    max_pixels: int
    max_people: int
    model: dict[str, str]

    def segment(self, asked: SegmentParameters, given: Given, job: Job) -> Answer:
        """The people's masks in a format."""
        people = given.people(self.max_people)
        if people is None:
            self._require_detector()
        image = self._image(given, job)
        with job.stage("extractor"):
            least = self.predictor.candidate_score(asked.score)
            encoded = self.predictor.encode(self.predictor.prepare(image), least)
        with job.stage("head"):
            found = people
            if found is None:
                found = self._best(self.predictor.people(image, encoded, least))
            masks = self.predictor.decode(encoded, found.boxes_xyxy, found.scores)
            if people is None:
                masks = self.predictor.without_duplicates(masks, asked.score)
        facts = self._facts(image)
        with job.stage("paste"):
            cut = Cut(image, masks, asked.threshold, asked.person, facts)
            media_type, encode = FORMATS[asked.format](cut)
        return self._answer(encode, media_type, len(masks), job, facts)

    def detect(self, asked: DetectParameters, given: Given, job: Job) -> Answer:
        """The people's boxes."""
        if given.boxes is not None or given.scores is not None:
            detail = "boxes and their scores are what this route finds: leave them out"
            raise Problem(400, "boxes", detail, "boxes")
        self._require_detector()
        image = self._image(given, job)
        with job.stage("extractor"):
            found = self._best(self.predictor.detect(image, asked.score))
        facts = self._facts(image)
        corners = np.round(found.boxes_xyxy.astype(float), 3)
        facts["people"] = [
            {"bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)], "score": round(float(own), 5)}
            for (x1, y1, x2, y2), own in zip(corners.tolist(), found.scores, strict=True)
        ]
        return self._answer(lambda: msgspec.json.encode(facts), JSON, len(found), job, facts)

    def _image(self, given: Given, job: Job) -> ImageArray:
        with job.stage("decode"):
            try:
                return read_image(given.photo, max_pixels=self.max_pixels)
            except TooManyPixels as error:
                raise Problem(413, "pixels", str(error), "image", len(given.photo)) from error
            except InputError as error:
                raise Problem(415, "not_a_photo", str(error), "image", len(given.photo)) from error

    def _best(self, found: Detections) -> Detections:
        """The best people of those that the model finds, at most ``max_people``."""
        most = self.max_people
        return Detections(found.boxes_xyxy[:most], found.scores[:most])

    def _require_detector(self) -> None:
        if not self.predictor.finds_people:
            detail = "the model of this server finds no people by itself: send boxes"
            raise Problem(422, "no_detector", detail, "boxes")

    def _facts(self, image: ImageArray) -> dict[str, Any]:
        size = {"height": image.shape[0], "width": image.shape[1]}
        return {"image": size, "model": self.model}

    def _answer(
        self,
        encode: Callable[[], bytes],
        media_type: str,
        people: int,
        job: Job,
        facts: dict[str, Any],
    ) -> Answer:
        facts["seconds"] = {name: round(value, 5) for name, value in job.seconds.items()}
        with job.stage("encode"):
            content = encode()
        return Answer(content, media_type, people, job.seconds)

"""What the server lets in: errors as RFC 9457 describes them, limits of requests, and counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import anyio
import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from human_edge_detection.core.errors import InputError

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request whose body was read."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused request is read, so that its sender gets to read the answer."""

CLIENT_GONE = 499
"""Status of requests whose sender left, in the metrics alone."""


class Problem(Exception):
    """A request that gets no result, and the answer that says why."""

    def __init__(
        self, status: int, reason: str, detail: str, field: str = "", value: object = None
    ) -> None:
        """Describe what is wrong.

        Args:
            status: the HTTP status.
            reason: a stable name of the kind of problem, also in the metrics.
            detail: what is wrong and the way out.
            field: the part of the request that it is about.
            value: what that part held.
        """
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.field, self.value = field, value

    @classmethod
    def of(cls, error: Exception) -> Problem:
        """What a client is told of an error; one of the server's own is told to the log alone."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, InputError):
            return cls(422, "unusable", str(error))
        logger.error("a request failed", exc_info=error)
        return cls(500, "fault", "the server failed; its log says why")

    def response(self) -> Response:
        """The answer, ``application/problem+json``, with when to try again where that helps."""
        gone = self.status == CLIENT_GONE
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": "Client Closed Request" if gone else HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        if self.field:
            content |= {"field": self.field, "value": self.value}
        headers = {"Retry-After": "1"} if self.status in (503, 504) else {}
        body = msgspec.json.encode(content)
        return Response(body, self.status, headers, "application/problem+json")


class Metrics:
    """Counts and times in Prometheus' terms, of one application."""

    def __init__(self, **model: str) -> None:
        """Start at zero; ``model`` are facts about the model."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        own: dict[str, Any] = {"registry": self.registry, "namespace": "human_edge_detection"}
        self._requests = Counter("requests", "Requests", ["route", "status"], **own)
        self._seconds = Histogram("seconds", "From headers to answer", ["route"], **own)
        self._stages = Histogram("stage_seconds", "Seconds of a stage", ["stage"], **own)
        self._people = Histogram(
            "people", "People of a photo", buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200), **own
        )
        self._refused = Counter("refused", "Requests without a result", ["reason"], **own)
        self.in_flight = Gauge("in_flight", "Places taken: read, waiting or worked on", **own)
        Gauge("model_info", "The model", list(model), **own).labels(**model).set(1)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Record a request that was answered, or whose sender left (:data:`CLIENT_GONE`)."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def photo(self, seconds: dict[str, float], people: int) -> None:
        """Record a finished photo: seconds by stage, and its people."""
        for stage, value in seconds.items():
            self._stages.labels(stage).observe(value)
        self._people.observe(people)

    def refused(self, reason: str) -> None:
        """Count a request without a result."""
        self._refused.labels(reason).inc()


class Places:
    """The places for requests that are read, wait or are worked on; for one event loop."""

    def __init__(self, count: int, gauge: Gauge) -> None:
        """All places are free; ``gauge`` shows how many are taken."""
        self.count, self.taken = count, 0
        gauge.set_function(lambda: self.taken)

    def take(self) -> None:
        """Take a place.

        Raises:
            Problem: there is none.
        """
        if self.taken >= self.count:
            detail = f"all {self.count} places for requests are taken: try again in a second"
            raise Problem(503, "full", detail)
        self.taken += 1

    def free(self) -> None:
        """Give a place back."""
        self.taken -= 1


class Gate:
    """Lets photos in if there is a place for them, reads them within limits, has them answered.

    Only photos sent to the handlers' routes are answered here; all else goes on to the
    application. A refusal is sent at once; the rest of the request is then read for a short time,
    because closing a connection with unread bytes can cost its sender the answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Mapping[str, Handler],
        places: Places,
        metrics: Metrics,
        max_bytes: int,
        body_seconds: float,
    ) -> None:
        """Stand before ``app``, at the routes of ``handlers``."""
        self._app, self._handlers, self._places, self._metrics = app, handlers, places, metrics
        self._max_bytes, self._body_seconds = max_bytes, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_photo = scope["type"] == "http" and scope["method"] == "POST"
        handler = self._handlers.get(scope["path"]) if is_photo else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), CLIENT_GONE
        try:
            self._places.take()
            try:
                request = Request(scope, _replay(await self._read(scope, receive), receive))
                response = await self._answer(handler, request)
            finally:
                self._places.free()
            status = response.status_code
            if status != CLIENT_GONE:
                await response(scope, receive, send)
        except Problem as problem:  # of a request that was not read
            self._metrics.refused(problem.reason)
            status = problem.status
            if status != CLIENT_GONE:
                await _refuse(problem, receive, send)
        finally:
            self._metrics.request(scope["path"], status, time.perf_counter() - started)

    async def _answer(self, handler: Handler, request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            problem = Problem.of(error)
            self._metrics.refused(problem.reason)
            return problem.response()

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The request's body.

        Raises:
            Problem: it is too large or too slow, or its sender is gone.
        """
        declared = int(dict(scope["headers"]).get(b"content-length", b"0"))
        parts: list[bytes] = []
        size, more = 0, True
        try:
            with anyio.fail_after(self._body_seconds):
                while more and max(declared, size) <= self._max_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem(CLIENT_GONE, "gone", "the client closed the connection")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Problem(
                408, "slow",
                f"the request did not arrive within {self._body_seconds:g} s: send it faster, or "
                "a smaller photo",
                "body", f"{size} bytes",
            ) from None  # fmt: skip
        if max(declared, size) > self._max_bytes:
            raise Problem(
                413, "bytes",
                f"the request is larger than {self._max_bytes / 1e6:g} MB: scale the photo down, "
                "or save it as JPEG",
                "body", declared or None,
            )  # fmt: skip
        return b"".join(parts)


async def _refuse(problem: Problem, receive: Receive, send: Send) -> None:
    """Answer at once, and close the connection when the rest of the request was read."""
    response = problem.response()
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError), anyio.fail_after(0 if problem.status == 408 else LINGER_SECONDS):
        more = True
        while more:
            more = (await receive()).get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the whole body first."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed

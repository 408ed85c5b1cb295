"""The HTTP application: routes, their documentation, errors, and the page."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.web_page import page_folder, page_policy
from human_edge_detection.serving.gate import Gate, Handler, Metrics, Places, Problem
from human_edge_detection.serving.request import (
    DetectParameters,
    Given,
    Parameters,
    SegmentParameters,
    read_given,
    read_parameters,
)
from human_edge_detection.serving.run import ServeOptions
from human_edge_detection.serving.work import Answer, Job, PhotoWork, Workers

SEGMENT, DETECT = "/v1/segment", "/v1/detect"

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, and the way out"},
        "reason": {"type": "string", "description": "a stable name of the kind of problem"},
        "field": {"type": "string", "description": "the part of the request that it is about"},
        "value": {"description": "what that part held"},
    },
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text, "content": {"application/problem+json": {"schema": _PROBLEM}},
    }
    for status, text in {
        400: "boxes, scores or a form that cannot be used",
        408: "the request arrived too slowly",
        413: "too many bytes or pixels",
        415: "not a photo",
        422: "a parameter that cannot be used, or a model that finds no people by itself",
        500: "a fault of the server: its log says why",
        503: "all places are taken: Retry-After says when to try again",
        504: "no answer in time",
    }.items()
}  # fmt: skip


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    """A request's body in OpenAPI's terms: the photo alone, or a form that holds it."""
    image = {"type": "string", "format": "binary", "description": "the photo"}
    form = {"type": "object", "required": ["image"], "properties": {"image": image, **properties}}
    kinds = {"image/*": _BINARY, "application/octet-stream": _BINARY}
    content = {**kinds, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


_BOXES = {
    "boxes": {
        "type": "string",
        "description": "JSON: [[x1, y1, x2, y2], …] in the upright photo's pixels, or COCO's "
        "objects with bbox and score; without it the model finds the people",
    },
    "scores": {"type": "string", "description": "JSON: one number from 0 to 1 for each box"},
}
_RESULTS = {kind: _BINARY for kind in ("image/png", "image/jpeg", "application/zip")}
_JSON_RESULT = {"application/json": {"schema": {"type": "object"}}}


def create_app(
    predictor: MaskPredictor,
    options: ServeOptions,
    model: dict[str, str],
    is_stopping: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """The application around an open model.

    The gate answers photos. FastAPI stands behind it, describes their routes, and answers all
    else: its own way to a route takes longer than a photo has (docs/serve.md, "Measured").

    Args:
        predictor: used by several threads; it stays the caller's.
        options: limits, CORS and the page's folder.
        model: facts that answers and metrics tell about the model.
        is_stopping: whether the server that runs the application takes no new connections.
    """
    metrics = Metrics(**model)
    places = Places(options.at_once + options.queue, metrics.in_flight)
    workers = Workers(options.at_once, places, options.seconds)
    work = PhotoWork(predictor, options.max_pixels, options.max_people, model)
    max_bytes = int(options.max_mb * 1e6)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    app = FastAPIOffline(
        redoc_url=None, title="human-edge-detection", version=model["version"],
        description="One clean mask per person, also where people overlap.", lifespan=lifespan,
    )  # fmt: skip

    async def answer(request: Request, task: Callable[[Given, Job], Answer]) -> Response:
        given = await read_given(request, max_bytes)
        done = await workers.run(request.receive, partial(task, given))
        metrics.photo(done.seconds, done.people)
        stages = [f"{name};dur={1000 * value:.1f}" for name, value in done.seconds.items()]
        headers = {"Server-Timing": ", ".join(stages), "X-People": str(done.people)}
        return Response(done.content, headers=headers, media_type=done.media_type)

    @app.post(
        SEGMENT, responses={200: {"content": {**_JSON_RESULT, **_RESULTS}}, **_PROBLEMS},
        openapi_extra=_body(_BOXES), response_class=Response,
    )  # fmt: skip
    async def segment(request: Request, asked: Annotated[SegmentParameters, Query()]) -> Response:
        """The masks of the people in a photo: of all that are found, or in the boxes given."""
        if asked.person is not None and asked.format != "cutouts":
            detail = "person chooses one cut-out: add format=cutouts, or leave person out"
            raise Problem(422, "person", detail, "person", asked.person)
        return await answer(request, partial(work.segment, asked))

    @app.post(
        DETECT, responses={200: {"content": _JSON_RESULT}, **_PROBLEMS}, openapi_extra=_body({}),
        response_class=Response,
    )  # fmt: skip
    async def detect(request: Request, asked: Annotated[DetectParameters, Query()]) -> Response:
        """The boxes of the people in a photo, best first; they may be sent as boxes."""
        return await answer(request, partial(work.detect, asked))

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the server is alive; it answers while photos are worked on."""
        return "ok\n"

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses={503: _PROBLEMS[503]})
    async def readyz() -> JSONResponse:
        """Whether photos are taken: the model is open and was run; 503 while the server stops."""
        if is_stopping():
            raise Problem(503, "stopping", "the server stops: ask another one")
        return JSONResponse(model)

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        """Counts and times for Prometheus."""
        text = prometheus_client.generate_latest(metrics.registry)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get(SEGMENT, include_in_schema=False)
    @app.get(DETECT, include_in_schema=False)
    async def no_photo() -> None:  # the page's files would answer with 404
        raise HTTPException(405, "Photos are sent by POST", {"Allow": "POST"})

    _add_errors(app, metrics)
    _add_page(app, options.page)
    handlers = {
        SEGMENT: _handler(SegmentParameters, segment),
        DETECT: _handler(DetectParameters, detect),
    }
    gate = Gate(app, handlers, places, metrics, max_bytes, options.body_seconds)
    if not options.cors:
        return gate
    return CORSMiddleware(
        gate, allow_origins=options.cors, allow_methods=["GET", "POST"],
        expose_headers=["Server-Timing", "X-People"],
    )  # fmt: skip


def _handler(
    kind: type[Parameters], route: Callable[[Request, Parameters], Awaitable[Response]]
) -> Handler:
    """A route as the gate calls it."""
    return lambda request: route(request, read_parameters(kind, request))


def _add_page(app: FastAPI, folder: Path | None) -> None:
    """Hand out the built page at ``/``, or say how to build it."""
    try:
        folder = folder or page_folder()
    except InputError as error:
        text = f"{error}; then start the server again. The API is at /docs.\n"

        @app.get("/", response_class=PlainTextResponse, include_in_schema=False)
        async def no_page() -> str:
            return text

        return
    mimetypes.add_type("application/manifest+json", ".webmanifest")
    app.mount("/", PageFiles(folder), name="page")


class PageFiles(StaticFiles):
    """The page's files, each with the page's security policy as a header."""

    def __init__(self, folder: Path) -> None:
        """Hand out the files of ``folder``."""
        super().__init__(directory=folder, html=True)
        policy = page_policy(folder)
        self._headers = {"Content-Security-Policy": policy} if policy else {}

    def file_response(self, *given: Any, **named: Any) -> Response:
        """A file, or that it has not changed."""
        response = super().file_response(*given, **named)
        response.headers.update(self._headers)
        return response


def _add_errors(app: FastAPI, metrics: Metrics) -> None:
    """Answer the errors of the routes behind the gate as RFC 9457 describes, too."""

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        response = Problem(error.status_code, "http", f"{error.detail}: see /docs").response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Problem)
    @app.exception_handler(Exception)
    async def on_error(_: Request, error: Exception) -> Response:
        problem = Problem.of(error)
        metrics.refused(problem.reason)
        return problem.response()

"""The HTTP application: routes, their documentation, errors, and the page."""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.inference.web_page import page_folder
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.serving.formats import FormatName
from human_edge_detection.serving.gate import Gate, Metrics, Places, Problem
from human_edge_detection.serving.run import ServeOptions
from human_edge_detection.serving.work import Answer, Given, Job, PhotoWork, Workers

logger = logging.getLogger(__name__)

SEGMENT, DETECT = "/v1/segment", "/v1/detect"

Score = Annotated[float, Query(ge=0, le=1, description="lowest score of a person to be found")]
Threshold = Annotated[
    float, Query(ge=0, le=1, description="probability from which a pixel belongs to a person")
]
Person = Annotated[
    int | None, Query(ge=1, description="with format=cutouts: this person alone, as PNG")
]

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


def create_app(predictor: MaskPredictor, options: ServeOptions, model: dict[str, str]) -> FastAPI:
    """The application around an open model.

    Args:
        predictor: used by several threads; it stays the caller's.
        options: limits, CORS and the page's folder.
        model: facts that answers and metrics tell about the model.
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
    app.state.is_draining = False
    app.add_middleware(
        Gate, routes=(SEGMENT, DETECT), places=places, metrics=metrics, max_bytes=max_bytes,
        body_seconds=options.body_seconds,
    )  # fmt: skip
    if options.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=options.cors, allow_methods=["GET", "POST"],
            expose_headers=["Server-Timing", "X-People"],
        )  # fmt: skip
    _add_errors(app, metrics)

    async def answer(request: Request, task: Callable[[Given, Job], Answer]) -> Response:
        given = await _given(request, max_bytes)
        done = await workers.run(request.receive, partial(task, given))
        metrics.photo(done.seconds, done.people)
        stages = [f"{name};dur={1000 * value:.1f}" for name, value in done.seconds.items()]
        headers = {"Server-Timing": ", ".join(stages), "X-People": str(done.people)}
        return Response(done.content, headers=headers, media_type=done.media_type)

    @app.post(
        SEGMENT, responses={200: {"content": {**_JSON_RESULT, **_RESULTS}}, **_PROBLEMS},
        openapi_extra=_body(_BOXES), response_class=Response,
    )  # fmt: skip
    async def segment(
        request: Request,
        score: Score = DEFAULT_SCORE,
        threshold: Threshold = 0.5,
        format: FormatName = "coco",
        person: Person = None,
    ) -> Response:
        """The masks of the people in a photo: of all that are found, or in the boxes given."""
        if person is not None and format != "cutouts":
            detail = "person chooses one cut-out: add format=cutouts, or leave person out"
            raise Problem(422, "person", detail, "person", person)

        def task(given: Given, job: Job) -> Answer:
            return work.segment(given, score, threshold, format, person, job)

        return await answer(request, task)

    @app.post(
        DETECT, responses={200: {"content": _JSON_RESULT}, **_PROBLEMS}, openapi_extra=_body({}),
        response_class=Response,
    )  # fmt: skip
    async def detect(request: Request, score: Score = DEFAULT_SCORE) -> Response:
        """The boxes of the people in a photo, best first; they may be sent as boxes."""
        return await answer(request, lambda given, job: work.detect(given, score, job))

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the server is alive; it answers while photos are worked on."""
        return "ok\n"

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses={503: _PROBLEMS[503]})
    async def readyz() -> JSONResponse:
        """Whether photos are taken: the model is open and was run; 503 while the server stops."""
        if app.state.is_draining:
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

    _add_page(app, options.page)
    return app


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
    app.mount("/", StaticFiles(directory=folder, html=True), name="page")


async def _given(request: Request, max_bytes: int) -> Given:
    """The photo and the boxes of a request.

    Raises:
        Problem: there is no photo, or the form is damaged or has other fields.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        given = Given(await request.body())
    else:
        # A part without a file name becomes text: of this charset, it keeps its bytes.
        headers = Headers({"content-type": f"{kind}; charset=latin-1"})
        parser = MultiPartParser(
            headers, request.stream(), max_files=3, max_fields=3, max_part_size=max_bytes
        )
        parser.spool_max_size = max_bytes  # a photo never touches the disk
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Problem(400, "form", f"the form is damaged: {error.message}", "body") from error
        parts: dict[str, bytes] = {}
        for name, value in form.multi_items():
            if name not in ("image", "boxes", "scores") or name in parts:
                text = "the form may have one image, one boxes and one scores, nothing else"
                raise Problem(400, "form", text, shown(name), None)
            if isinstance(value, UploadFile):
                parts[name] = await value.read()
            else:
                parts[name] = value.encode("latin-1", "replace")
        given = Given(parts.get("image", b""), parts.get("boxes"), parts.get("scores"))
    if not given.photo:
        text = "there is no photo: send it as the body, or as the field image of a form"
        raise Problem(400, "no_photo", text, "image")
    return given


def _add_errors(app: FastAPI, metrics: Metrics) -> None:
    """Answer every error as RFC 9457 describes."""

    def answer(problem: Problem) -> Response:
        metrics.refused(problem.reason)
        return problem.response()

    @app.exception_handler(Problem)
    async def on_problem(_: Request, error: Problem) -> Response:
        return answer(error)

    @app.exception_handler(InputError)
    async def on_input(_: Request, error: InputError) -> Response:
        return answer(Problem(422, "unusable", str(error)))

    @app.exception_handler(RequestValidationError)
    async def on_parameter(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        detail = f"{field}: {first['msg']}; /docs lists what it may be"
        return answer(Problem(422, "parameter", detail, field, shown(first.get("input"))))

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        response = Problem(error.status_code, "http", f"{error.detail}: see /docs").response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def on_fault(_: Request, error: Exception) -> Response:
        logger.error("a request failed", exc_info=error)
        return answer(Problem(500, "fault", "the server failed; its log says why"))

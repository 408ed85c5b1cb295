"""What is asked of a photo: the parameters in a request's address, and what is in its body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from human_edge_detection.core.boxes import check_boxes, check_scores
from human_edge_detection.core.errors import InputError, one_line, shown
from human_edge_detection.core.structures import Detections
from human_edge_detection.runtime import DEFAULT_SCORE
from human_edge_detection.serving.formats import FormatName
from human_edge_detection.serving.gate import Problem


class DetectParameters(BaseModel, extra="forbid"):
    """What may be asked of a photo's boxes."""

    score: float = Field(
        DEFAULT_SCORE, ge=0, le=1, description="lowest score of a person to be found"
    )


class SegmentParameters(DetectParameters):
    """What may be asked of a photo's masks."""

    threshold: float = Field(
        0.5, ge=0, le=1, description="probability from which a pixel belongs to a person"
    )
    format: FormatName = Field("coco", description="what the answer holds")
    person: int | None = Field(
        None, ge=1, description="with format=cutouts: this person alone, as PNG"
    )


Parameters = TypeVar("Parameters", bound=DetectParameters)


def read_parameters(kind: type[Parameters], request: Request) -> Parameters:
    """A request's parameters.

    Raises:
        Problem: one cannot be used, or there is none of that name.
    """
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        detail = f"{field}: {first['msg']}; /docs lists the parameters and what each may be"
        raise Problem(422, "parameter", detail, field, shown(first["input"])) from error


@dataclass(frozen=True)
class Given:
    """A request's photo and what came with it.

    Attributes:
        photo: the image file.
        boxes: JSON of the people's boxes; None for a detector's.
        scores: JSON of the boxes' scores.
    """

    photo: bytes
    boxes: bytes | None = None
    scores: bytes | None = None

    def people(self, most: int) -> Detections | None:
        """The people in the boxes, which are corners or COCO's objects with a ``bbox``.

        Args:
            most: more boxes are refused.

        Returns:
            None if there are no boxes, so that a detector must find the people.

        Raises:
            Problem: boxes or scores cannot be used.
        """
        if self.boxes is None:
            if self.scores is not None:
                raise _wrong("scores", "", "scores belong to boxes: send boxes, or no scores")
            return None
        rows = _json(self.boxes, "boxes")
        values = None if self.scores is None else _json(self.scores, "scores")
        if not isinstance(values, list | None):
            raise _wrong("scores", values, "scores must be a list of numbers from 0 to 1")
        if not isinstance(rows, list):
            raise _wrong(
                "boxes", rows, "boxes must be a list: [[x1, y1, x2, y2], …] or COCO's objects"
            )
        if len(rows) > most:
            detail = f"there are {len(rows)} boxes, more than {most}: send fewer at a time"
            raise _wrong("boxes", len(rows), detail)
        if rows and all(isinstance(row, dict) for row in rows):
            if values is None and all("score" in row for row in rows):
                values = [row["score"] for row in rows]
            rows = [_corners(row) for row in rows]
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused
            try:
                corners = check_boxes(rows)
            except (InputError, OverflowError) as error:
                raise _wrong("boxes", rows, str(error)) from error
            try:
                known = check_scores(values, len(corners))
            except (TypeError, ValueError, OverflowError) as error:
                raise _wrong("scores", values, str(error)) from error
        if ((known < 0) | (known > 1)).any():
            raise _wrong("scores", values, "scores must be between 0 and 1")
        return Detections(corners, known)


async def read_given(request: Request, max_bytes: int) -> Given:
    """The photo and the boxes of a request.

    Raises:
        Problem: there is no photo, or the form is damaged or has other fields.
    """
    kind = request.headers.get("content-type", "")
    if kind.lower().startswith("multipart/form-data"):
        given = await _read_form(request, kind, max_bytes)
    else:
        given = Given(await request.body())
    if not given.photo:
        text = "there is no photo: send it as the body, or as the field image of a form"
        raise Problem(400, "no_photo", text, "image")
    return given


async def _read_form(request: Request, kind: str, max_bytes: int) -> Given:
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
    return Given(parts.get("image", b""), parts.get("boxes"), parts.get("scores"))


def _wrong(field: str, value: object, detail: str) -> Problem:
    text = one_line(detail if field in detail else f"{field}: {detail}")
    return Problem(400, field, text, field, shown(value))


def _json(text: bytes, field: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _wrong(
            field, text.decode(errors="replace"), f"{field} must be JSON: {error}"
        ) from error


def _corners(item: dict[str, Any]) -> list[float]:
    try:
        x, y, width, height = map(float, item["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        detail = "boxes must each have a bbox of x, y, width and height"
        raise _wrong("boxes", item, detail) from error
    return [x, y, x + width, y + height]

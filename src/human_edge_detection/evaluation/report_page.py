"""Writes a report: ``report.json`` for programs and a self-contained ``report.html`` for people."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.breakdowns import ASPECTS
from human_edge_detection.evaluation.gallery import choose_people, person_picture
from human_edge_detection.evaluation.person_scores import PersonScore
from human_edge_detection.evaluation.report import Json, ScoredModel

LOG = logging.getLogger(__name__)

TEMPLATE = "report.html"
PLACE = "__DATA__"
PICTURE_QUALITY = 80


def write_report(folder: Path, data: Json, pictures: Sequence[Json], gallery_model: str) -> Path:
    """Write both files into a folder; the page's path comes back.

    Args:
        folder: made if absent.
        data: the content, see :func:`report_data`.
        pictures: people shown, see :func:`gallery_pictures`.
        gallery_model: name of the model that the pictures are of.
    """
    shown = [{k: v for k, v in picture.items() if k != "src"} for picture in pictures]
    facts = {**data, "gallery_model": gallery_model}
    text = json.dumps({**facts, "pictures": shown}, indent=1, ensure_ascii=False)
    write_atomically(folder / "report.json", text.encode())
    page = folder / TEMPLATE
    write_atomically(page, page_html({**facts, "pictures": list(pictures)}).encode())
    LOG.info("report: %s", page)
    return page


def page_html(content: dict[str, Any]) -> str:
    """The page with its content inside; it loads nothing from anywhere."""
    template = (
        files("human_edge_detection.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    )
    embedded = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return template.replace(PLACE, embedded.replace("</", "<\\/"))


def gallery_pictures(photos: Sequence[Photo], model: ScoredModel) -> list[Json]:
    """The worst people of a model, of all and of each group, and the best, with pictures."""
    by_id = {photo.id: photo for photo in photos}
    worst, best = choose_people(model.evaluation.scores, model.evaluation.min_side)
    chosen = [("worst", score) for score in worst] + [("best", score) for score in best]
    pictures = []
    for kind, score in chosen:
        try:
            pictures.append(_picture(kind, by_id[score.photo_id], score))
        except InputError as error:
            LOG.warning("no picture: %s", error)
    return pictures


def _picture(kind: str, photo: Photo, score: PersonScore) -> Json:
    picture = person_picture(photo, score)[:, :, ::-1]
    _, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, PICTURE_QUALITY])
    return {
        "kind": kind,
        "file": photo.file_name,
        "person": score.person_id,
        "iou": round(score.iou, 4),
        "boundary_iou": round(score.boundary_iou, 4),
        "overlap": round(score.overlap, 3),
        "groups": {aspect: name_of(score) for aspect, _, name_of in ASPECTS},
        "src": f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}",
    }

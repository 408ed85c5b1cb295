"""The report of a validation: ``report.json`` and the self-contained page ``report.html``."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.bootstrap import (
    ASPECTS,
    HEADLINES,
    LEVEL,
    Estimate,
    Group,
    break_down,
    estimate,
    paired_difference,
)
from human_edge_detection.evaluation.calibration import Calibration
from human_edge_detection.evaluation.coco import KINDS, AveragePrecision
from human_edge_detection.evaluation.evaluate import Evaluation, PersonScore
from human_edge_detection.evaluation.pictures import choose_people, person_picture

LOG = logging.getLogger(__name__)

GROUP_NUMBERS = ("target_iou_image", "boundary_iou", "separation_accuracy")
DIGITS = 5
TEMPLATE, PLACE = "report.html", "__DATA__"
PICTURE_QUALITY = 80

Json = dict[str, Any]


@dataclass(frozen=True)
class ScoredModel:
    """One model (or another tool's results) with all its scores.

    Attributes:
        name: how tables call it.
        evaluation: the scores of every person.
        precision: COCO's numbers, where predictions carry detector boxes or scores.
        jitter: headline numbers with boxes shifted by each amount.
        calibration: how far scores are probabilities, where predictions carry scores.
    """

    name: str
    evaluation: Evaluation
    precision: tuple[AveragePrecision, ...] = ()
    jitter: dict[float, dict[str, Estimate]] = field(default_factory=dict)
    calibration: Calibration | None = None


def best_of(models: Sequence[ScoredModel], best_by: str) -> ScoredModel:
    """The model whose number of the name ``best_by`` is largest; the first where none has it."""
    return max(models, key=lambda model: np.nan_to_num(model.evaluation.summary()[best_by]))


def report_data(
    title: str,
    photos: Sequence[Photo],
    models: Sequence[ScoredModel],
    ceilings: dict[str, Evaluation],
    rounds: int,
) -> Json:
    """The report's content; the first model is what the others are compared with.

    ``ceilings`` are scores of the ground truth itself, by how it was made; ``rounds`` is the number
    of resamplings behind each interval.
    """
    first = models[0].evaluation
    return {
        "title": title,
        "photos": len(photos),
        "people": len(first.scores),
        "counted": len(first.counted),
        "min_side": first.min_side,
        "interval": {"level": LEVEL, "rounds": rounds, "resampled": "photos"},
        "metrics": HEADLINES,
        "aspects": {aspect: list(names) for aspect, names, _ in ASPECTS},
        "models": [_model(model, models[0], rounds) for model in models],
        "ceiling": {
            name: _estimates(estimate(e.scores, e.min_side, rounds)) for name, e in ceilings.items()
        },
        "person_facts": [_person(score) for score in first.counted],
    }


def _model(model: ScoredModel, first: ScoredModel, rounds: int) -> Json:
    scores, min_side = model.evaluation.scores, model.evaluation.min_side
    known = {(s.photo_id, s.person_id): s for s in scores}
    rows = [known.get((s.photo_id, s.person_id)) for s in first.evaluation.counted]
    return {
        "name": model.name,
        "headline": _estimates(estimate(scores, min_side, rounds)),
        "losses": {name: _number(value) for name, value in model.evaluation.losses.items()},
        "difference": None if model is first else _difference(first, model, rounds),
        "confusion": model.evaluation.matrix.tolist(),
        "groups": [_group(group) for group in break_down(scores, min_side, rounds)],
        "precision": [_precision(item) for item in model.precision],
        "calibration": None if model.calibration is None else _calibration(model.calibration),
        "jitter": [
            {"amount": amount, "headline": _estimates(numbers)}
            for amount, numbers in model.jitter.items()
        ],
        "iou": [None if row is None else _number(row.iou) for row in rows],
        "boundary_iou": [None if row is None else _number(row.boundary_iou) for row in rows],
    }


def _difference(first: ScoredModel, model: ScoredModel, rounds: int) -> Json:
    """Paired over the people that both were scored on."""
    both = {(s.photo_id, s.person_id) for s in first.evaluation.scores}
    both &= {(s.photo_id, s.person_id) for s in model.evaluation.scores}
    old, new = (
        [s for s in m.evaluation.scores if (s.photo_id, s.person_id) in both]
        for m in (first, model)
    )
    return _estimates(paired_difference(old, new, first.evaluation.min_side, rounds))


def _group(group: Group) -> Json:
    numbers = {name: group.numbers[name] for name in GROUP_NUMBERS}
    return {
        "aspect": group.aspect,
        "name": group.name,
        "count": group.count,
        "numbers": _estimates(numbers),
    }


def _precision(item: AveragePrecision) -> Json:
    curves = [
        {"iou": curve.iou, "precision": [_number(float(v)) for v in curve.precision]}
        for curve in item.curves
    ]
    stats = {name: _number(value) for name, value in item.stats.items()}
    return {"kind": KINDS[item.kind], "stats": stats, "curves": curves}


def _calibration(found: Calibration) -> Json:
    ranges = [
        {"low": r.low, "count": r.count, "score": _number(r.score), "right": _number(r.right)}
        for r in found.ranges
    ]
    return {"error": _number(found.error), "ranges": ranges}


def _person(score: PersonScore) -> Json:
    names = {aspect: name_of(score) for aspect, _, name_of in ASPECTS}
    return {
        "photo": score.photo_id,
        "person": score.person_id,
        "side": round(score.area**0.5, 1),
        "overlap": round(score.overlap, 3),
        "groups": names,
    }


def _estimates(numbers: dict[str, Estimate]) -> Json:
    return {n: [_number(e.value), _number(e.low), _number(e.high)] for n, e in numbers.items()}


def _number(value: float) -> float | None:
    return round(value, DIGITS) if value == value else None


def write_report_json(folder: Path, data: Json, pictures: Sequence[Json] = ()) -> Path:
    """Write ``report.json`` of :func:`report_data` and return its path.

    The people of the page's gallery are listed without the pictures themselves.
    """
    shown = [{k: v for k, v in picture.items() if k != "src"} for picture in pictures]
    text = json.dumps({**data, "pictures": shown}, indent=1, ensure_ascii=False)
    write_atomically(folder / "report.json", text.encode())
    return folder / "report.json"


def write_page(folder: Path, data: Json, pictures: Sequence[Json]) -> Path:
    """Write ``report.html``, with the gallery's pictures, and return its path."""
    page = folder / TEMPLATE
    write_atomically(page, page_html({**data, "pictures": list(pictures)}).encode())
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

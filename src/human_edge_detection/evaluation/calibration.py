"""Whether a prediction's score is the probability that it is a person found."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.coco import to_ground_truth, to_results
from human_edge_detection.evaluation.metrics import BoolArray
from human_edge_detection.evaluation.predictions import Predictions

LEAST_IOU = 0.5
"""Mask IoU from which a prediction is a person found."""

BINS = 10
"""Ranges of scores of equal width."""


@dataclass(frozen=True)
class ScoreRange:
    """The predictions whose scores lie in a range.

    Attributes:
        low: lower end of the range; the upper one is the next range's.
        count: number of predictions.
        score: their mean score; NaN without any.
        right: fraction of them that are a person found; NaN without any.
    """

    low: float
    count: int
    score: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """How far scores are from the probability of being right.

    Attributes:
        ranges: the reliability table, by rising score.
        error: the expected calibration error, ``|score - right|`` averaged over all predictions.
    """

    ranges: tuple[ScoreRange, ...]
    error: float


def calibration(photos: Sequence[Photo], predictions: Predictions) -> Calibration | None:
    """How well the predictions' scores are calibrated; None where they have no scores to speak of.

    A prediction is right if it is the one that COCO's rule gives a person: by falling score each
    takes the free person of largest mask IoU, from ``LEAST_IOU`` on. Predictions inside crowd
    regions, or of people whose mask is not known, do not count.
    """
    right, counts = judged(photos, predictions)
    scores = np.array([item.score for photo in photos for item in predictions.get(photo.id, [])])
    scores, right = scores[counts], right[counts]
    if len(np.unique(scores)) < 2:
        return None
    place = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    ranges = []
    for number in range(BINS):
        own = place == number
        means = (scores[own].mean(), right[own].mean()) if own.any() else (np.nan, np.nan)
        ranges.append(ScoreRange(number / BINS, int(own.sum()), *map(float, means)))
    gaps = [item.count * abs(item.score - item.right) for item in ranges if item.count]
    return Calibration(tuple(ranges), float(sum(gaps) / len(scores)))


def judged(photos: Sequence[Photo], predictions: Predictions) -> tuple[BoolArray, BoolArray]:
    """Whether each prediction is right, and whether it counts: bool [K] each.

    In the order of the photos, and within each in that of its predictions.
    """
    results = to_results({photo.id: predictions.get(photo.id, []) for photo in photos})
    right, counts = np.zeros(len(results), np.bool_), np.ones(len(results), np.bool_)
    if not results:
        return right, counts
    truth = COCO()
    truth.dataset = to_ground_truth(photos)
    for number, record in enumerate(truth.dataset["annotations"], start=1):
        record["id"] = number  # a match with the id 0 would count as none
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints its progress
        truth.createIndex()
        found = COCOeval(truth, truth.loadRes(results), "segm")
        found.params.iouThrs = np.array([LEAST_IOU])
        found.params.areaRng, found.params.areaRngLbl = found.params.areaRng[:1], ["all"]
        found.params.maxDets = [max(len(items) for items in predictions.values())]
        found.evaluate()
    for part in found.evalImgs:
        if part is not None:
            rows = np.array(part["dtIds"], np.int64) - 1  # numbered from 1 in the order given
            right[rows] = part["dtMatches"][0] > 0
            counts[rows] = ~part["dtIgnore"][0].astype(np.bool_)
    return right, counts

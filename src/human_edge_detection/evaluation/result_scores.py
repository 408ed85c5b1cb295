"""Scores any tool's predictions with the numbers that this project's models get.

Each annotated person gets at most one prediction: the one prompted with its box where the tool
says so, otherwise the best that is left, by mask IoU. A person without one scores 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.geometry import crop_mask
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Person, Photo, decode_mask
from human_edge_detection.data.targets import PhotoMasks, roi_targets
from human_edge_detection.evaluation.evaluate import MIN_SIDE, Evaluation
from human_edge_detection.evaluation.metrics import BoolArray, confusion_matrix
from human_edge_detection.evaluation.person_scores import (
    PersonScore,
    Rle,
    decode_rle,
    encode_mask,
    score_person,
)
from human_edge_detection.evaluation.predictions import Prediction, Predictions

ROI_PADDING = 0.1
MASK_SIZE = 56
LEAST_IOU = 0.01
"""Mask IoU below which a prediction is nobody's."""


def evaluate_predictions(
    photos: Sequence[Photo], predictions: Predictions, min_side: float = MIN_SIDE
) -> Evaluation:
    """The scores of every annotated person under some tool's predictions.

    At 56×56 a bin is the target's where the person's own prediction covers half of it, otherwise
    non-target or background, whichever covers more of it.
    """
    scores: list[PersonScore] = []
    for photo in photos:
        scores += score_photo(photo, predictions.get(photo.id, []))
    return Evaluation(tuple(scores), {}, min_side)


def score_photo(photo: Photo, predictions: Sequence[Prediction]) -> Iterator[PersonScore]:
    """The scores of one photo's people."""
    masks = PhotoMasks(photo)
    people = [i for i, p in enumerate(photo.people) if p.is_target and masks.known[i]]
    if not people:
        return
    truths = [decode_mask(photo.people[i], photo.size_hw) for i in people]
    matches = match_people([photo.people[i] for i in people], truths, predictions)
    boxes = np.stack([photo.people[i].box_xyxy for i in people])
    rois = padded_rois(boxes, ROI_PADDING, photo.size_hw)
    targets = roi_targets(masks, rois, np.array(people), MASK_SIZE)
    covered = _cover(predictions, photo.size_hw)
    nothing = np.zeros(photo.size_hw, np.bool_)
    for n, index in enumerate(people):
        match = matches[n]
        own = nothing if match is None else decode_rle(predictions[match].rle)
        labels = _labels(own, covered > own, rois[n])
        yield score_person(
            photo,
            photo.people[index],
            truth=truths[n],
            predicted=own,
            confusion=confusion_matrix(labels, targets[n]),
            roi_xyxy=rois[n],
            labels=labels,
        )


def match_people(
    people: Sequence[Person], truths: Sequence[BoolArray], predictions: Sequence[Prediction]
) -> list[int | None]:
    """For each person the position of its prediction, or None; no prediction is given twice."""
    prompted = {p.person_id: i for i, p in enumerate(predictions) if p.person_id is not None}
    matches: list[int | None] = [prompted.get(person.id) for person in people]
    taken = {match for match in matches if match is not None}
    ious = _mask_ious([encode_mask(truth) for truth in truths], [p.rle for p in predictions])
    for flat in np.argsort(-ious, axis=None, kind="stable"):
        person, prediction = (int(i) for i in np.unravel_index(flat, ious.shape))
        if ious[person, prediction] < LEAST_IOU:
            break
        free = predictions[prediction].person_id is None and prediction not in taken
        if matches[person] is None and free:
            matches[person] = prediction
            taken.add(prediction)
    return matches


def _mask_ious(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(mask_api.iou(list(first), list(second), [0] * len(second)))


def _cover(predictions: Sequence[Prediction], size_hw: tuple[int, int]) -> NDArray[np.uint16]:
    covered = np.zeros(size_hw, np.uint16)
    for prediction in predictions:
        covered += decode_rle(prediction.rle)
    return covered


def _labels(own: BoolArray, others: BoolArray, roi: FloatArray) -> NDArray[np.uint8]:
    own_part, others_part = crop_mask(own, roi, MASK_SIZE), crop_mask(others, roi, MASK_SIZE)
    nobody_part = np.maximum(1 - own_part - others_part, 0)  # the rule of the targets
    rest = np.where(others_part >= nobody_part, np.uint8(MaskClass.NON_TARGET), np.uint8(0))
    return np.where(own_part >= 0.5, np.uint8(MaskClass.TARGET), rest)

"""Reads and scores the predictions of any tool: COCO results or label maps.

Each annotated person is matched with at most one prediction: the one that the person's box
prompted where the file names it, otherwise the free one of largest mask IoU. A person without a
prediction scores 0.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_api

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.files import check_regular
from human_edge_detection.core.geometry import crop_mask
from human_edge_detection.core.rle import Rle, compress, decode_rle, encode_mask, rle_box
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Person, Photo, decode_mask
from human_edge_detection.data.targets import PhotoMasks, roi_targets
from human_edge_detection.evaluation.evaluate import MIN_SIDE, Evaluation, PersonScore, score_person
from human_edge_detection.evaluation.metrics import BoolArray, confusion_matrix

LOG = logging.getLogger(__name__)

ROI_PADDING = 0.1
MASK_SIZE = 56
_LARGEST = float(np.finfo(np.float32).max)
LEAST_IOU = 0.01
"""Smallest mask IoU of a person and the prediction matched with it."""


@dataclass(frozen=True)
class Prediction:
    """One predicted person.

    Attributes:
        rle: the mask as COCO's compressed RLE, source frame.
        box_xyxy: float32 [4], source pixels.
        score: confidence; only its order matters.
        person_id: the annotation whose box was the prompt; None for a tool without prompts.
    """

    rle: Rle
    box_xyxy: FloatArray
    score: float = 1.0
    person_id: int | None = None


Predictions = dict[int, list[Prediction]]
"""The predictions of each photo, by photo id; photos without any may be absent."""


def read_predictions(path: Path, photos: Sequence[Photo], category_id: int = 1) -> Predictions:
    """The predictions in a COCO results file, or in a folder with one or with label maps.

    A folder is searched for one ``*.json``, else for ``labels/NAME.png`` or ``NAME.png`` (0 for
    no person, otherwise the person's number). Predictions of other photos are left out.

    Raises:
        InputError: if nothing usable is found, or a mask has another size than its photo.
    """
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if len(files) == 1:
            return read_predictions(files[0], photos, category_id)
        return read_label_maps(path, photos)
    check_regular(path, "results")
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise InputError(f"results {path} cannot be read as JSON: nested too deep") from error
    except (OSError, ValueError) as error:
        raise InputError(f"results {path} cannot be read as JSON: {str(error)[:200]}") from error
    records = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
        raise InputError(f"results {path} is not a COCO results file: a list of objects is needed")
    return _group(records, photos, category_id, path)


def _group(
    records: Sequence[Mapping[str, Any]], photos: Sequence[Photo], category_id: int, path: Path
) -> Predictions:
    by_id = {photo.id: photo for photo in photos}
    by_name = {Path(photo.file_name).stem: photo for photo in photos}
    found: Predictions = {}
    elsewhere = 0
    for number, record in enumerate(records):
        if record.get("category_id", category_id) != category_id:
            continue
        name, image_id = record.get("file_name"), record.get("image_id")
        if isinstance(name, str) and name:
            photo = by_name.get(Path(name).stem)
        else:
            photo = by_id.get(image_id) if isinstance(image_id, int) else None
        if photo is None:
            elsewhere += 1
            continue
        where = f"results {path}, entry {number} (photo {photo.id})"
        found.setdefault(photo.id, []).append(_prediction(record, photo, where))
    if records and not found:
        raise InputError(
            f"results {path}: none of its {len(records)} entries is of category {category_id} in "
            "a photo of --val_ann; image_id and category_id must be those of the annotations"
        )
    if elsewhere:
        LOG.warning("%s: %d entries are of photos that are not scored", path, elsewhere)
    return found


def _prediction(record: Mapping[str, Any], photo: Photo, where: str) -> Prediction:
    try:
        rle = compress(record.get("segmentation"), photo.size_hw)
    except ValueError as error:
        raise InputError(f"{where}: its mask cannot be used ({error})") from error
    box = record.get("bbox") or mask_api.toBbox(rle).tolist()
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{where}: bbox must be [x, y, width, height], but got {shown(box)}")
    x, y, width, height = (_number(value, f"{where}: bbox") for value in box)
    person_id = record.get("annotation_id")
    if person_id is not None and type(person_id) is not int:
        raise InputError(
            f"{where}: annotation_id must be a whole number, but got {shown(person_id)}"
        )
    return Prediction(
        rle=rle,
        box_xyxy=np.array([x, y, x + width, y + height], np.float32),
        score=_number(record.get("score", 1.0), f"{where}: score"),
        person_id=person_id,
    )


def _number(value: object, where: str) -> float:
    """A finite number that float32 holds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) < _LARGEST:  # type: ignore[arg-type]
        raise InputError(f"{where} must be a finite number, but got {shown(value)}")
    return float(value)  # type: ignore[arg-type]


def read_label_maps(folder: Path, photos: Sequence[Photo]) -> Predictions:
    """The people of ``labels/NAME.png`` or ``NAME.png`` below a folder, without scores.

    Raises:
        InputError: if no photo has a map, or a map has another size than its photo.
    """
    inner = folder / "labels" if (folder / "labels").is_dir() else folder
    found: Predictions = {}
    for photo in photos:
        path = inner / Path(photo.file_name).with_suffix(".png")
        if not path.is_file():
            continue
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if labels is None or labels.ndim != 2 or labels.shape != photo.size_hw:
            raise InputError(f"{path} is not a label map of {photo.size_hw[1]}x{photo.size_hw[0]}")
        numbers = [int(number) for number in np.unique(labels) if number]
        rles = [encode_mask(np.asarray(labels == number)) for number in numbers]
        found[photo.id] = [Prediction(rle, rle_box(rle)) for rle in rles]
    if not found:
        raise InputError(
            f"{folder} holds neither one .json of COCO results nor labels/NAME.png of the photos "
            "in --val_ann"
        )
    return found


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
    """The position of each person's prediction, or None; no position occurs twice."""
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
    free_part = np.maximum(1 - own_part - others_part, 0)  # the rule of the targets
    rest = np.where(others_part >= free_part, np.uint8(MaskClass.NON_TARGET), np.uint8(0))
    return np.where(own_part >= 0.5, np.uint8(MaskClass.TARGET), rest)

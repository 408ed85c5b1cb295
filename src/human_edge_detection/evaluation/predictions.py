"""Reads what any tool predicted: COCO results, or label maps, as one list per photo."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_api

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.annotations import Photo
from human_edge_detection.evaluation.person_scores import Rle, encode_mask

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """One predicted person.

    Attributes:
        rle: the mask as COCO's compressed RLE, source frame.
        box_xyxy: float32 [4], source pixels.
        score: confidence; only its order matters.
        person_id: the annotation whose box was the prompt, where the tool was given boxes.
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
    nobody, otherwise the person's number).

    Args:
        path: the file or folder.
        photos: the annotated photos; predictions of other photos are left out.
        category_id: the category of people in the annotations.

    Raises:
        InputError: if nothing usable is found, or a mask has another size than its photo.
    """
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if len(files) == 1:
            return read_predictions(files[0], photos, category_id)
        return read_label_maps(path, photos)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"results {path} cannot be read as JSON: {error}") from error
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
        name = record.get("file_name")
        photo = by_name.get(Path(name).stem) if name else by_id.get(record.get("image_id", -1))
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
    rle = compressed(record.get("segmentation"), photo.size_hw, where)
    box = record.get("bbox") or mask_api.toBbox(rle).tolist()
    x, y, width, height = (float(value) for value in box)
    person_id = record.get("annotation_id")
    return Prediction(
        rle=rle,
        box_xyxy=np.array([x, y, x + width, y + height], np.float32),
        score=float(record.get("score", 1.0)),
        person_id=None if person_id is None else int(person_id),
    )


def compressed(segmentation: object, size_hw: tuple[int, int], where: str) -> Rle:
    """A compressed RLE from polygons or either kind of RLE.

    Raises:
        InputError: naming ``where`` if there is no mask or it is not of ``size_hw``.
    """
    height, width = size_hw
    try:
        if isinstance(segmentation, list):
            rle = mask_api.merge(mask_api.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
            rle = mask_api.frPyObjects(segmentation, height, width)
        elif isinstance(segmentation, dict):
            rle = dict(segmentation)
        else:
            raise TypeError("no segmentation")
        size = [int(side) for side in rle["size"]]
    except (TypeError, ValueError, KeyError, RuntimeError, IndexError) as error:
        raise InputError(f"{where}: its mask cannot be used ({error})") from error
    if size != [height, width]:
        raise InputError(f"{where}: its mask is for {size}, but the photo is {[height, width]}")
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else str(counts)
    return {"size": size, "counts": text}


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
            raise InputError(f"{path} is no label map of {photo.size_hw[1]}x{photo.size_hw[0]}")
        numbers = [int(number) for number in np.unique(labels) if number]
        rles = [encode_mask(np.asarray(labels == number)) for number in numbers]
        found[photo.id] = [Prediction(rle, _box_of(rle)) for rle in rles]
    if not found:
        raise InputError(
            f"{folder} holds neither one .json of COCO results nor labels/NAME.png of the photos "
            "in --val_ann"
        )
    return found


def _box_of(rle: Rle) -> FloatArray:
    x, y, width, height = mask_api.toBbox(rle).tolist()
    return np.array([x, y, x + width, y + height], np.float32)

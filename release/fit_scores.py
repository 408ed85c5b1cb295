"""Fits how a person model's scores become probabilities, and writes that into its files.

uv run python release/fit_scores.py FOLDER --ann TRAIN.json --img_dir PHOTOS

FOLDER holds the exported pair, as ``release/ship_person_model.py`` or ``export`` writes it. An
8-bit head and safetensors beside it are changed too. The photos should be training's. The rule is
that of ``masks/candidates``. ``--dry_run`` prints the figures and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from tqdm import tqdm

from human_edge_detection import MaskPredictor
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.images import read_image
from human_edge_detection.core.rle import decode_rle, encode_window
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.calibration import calibration, judged
from human_edge_detection.evaluation.coco import average_precision
from human_edge_detection.evaluation.evaluate import MIN_SIDE
from human_edge_detection.evaluation.metrics import BoolArray, image_iou
from human_edge_detection.evaluation.predictions import Prediction, Predictions, match_people
from human_edge_detection.evaluation.tables import calibration_text, table_text
from human_edge_detection.export.torch_to_onnx import serialized
from human_edge_detection.masks.candidates import (
    evidence,
    few_bins,
    found_scores,
    person_scores,
)
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.modeling.weights import read_trained
from human_edge_detection.modeling.weights_file import save_weights
from human_edge_detection.runtime.model_files import HEAD_NAME, INT8_HEAD_NAME, WEIGHTS_NAME

LEAST = 0.1
"""Lowest score of a candidate that is looked at."""

LIMITS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Default scores that are compared."""

ROUNDS = 4
"""Fits in turn; each begins with the duplicates that the one before it leaves."""

RIDGE = 1e-2
"""Penalty of the weights' squares: it bounds them where right and wrong lie apart."""

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """A photo's candidates.

    Attributes:
        photo: the annotated photo.
        masks: the candidates by falling score of the detector, each mask by itself.
        predictions: the same, with the detector's score.
    """

    photo: Photo
    masks: InstanceMasks
    predictions: list[Prediction]


def collect(predictor: MaskPredictor, photo: Photo) -> Found:
    """The candidates of one photo, probabilities in 16 bits."""
    image = read_image(photo.file)
    encoded = predictor.encode(predictor.prepare(image), LEAST)
    people = predictor.people(image, encoded, LEAST)
    masks = predictor.decode(encoded, people.boxes_xyxy, people.scores)
    masks = replace(masks, probs=masks.probs.astype(np.float16), fuse="independent")
    return Found(photo, masks, to_predictions(masks))


def to_predictions(masks: InstanceMasks) -> list[Prediction]:
    """One prediction per person."""
    return [
        Prediction(encode_window(mask, bounds, masks.size_hw), box, float(score))
        for (mask, bounds), box, score in zip(
            masks.iter_binary(), masks.boxes_xyxy, masks.scores, strict=True
        )
    ]


def scored(found: Sequence[Found], weights: Weights) -> list[FloatArray]:
    """The candidates' scores under some weights, photo by photo."""
    return [found_scores(f.masks.probs, f.masks.rois_xyxy, f.masks.scores, weights) for f in found]


def with_scores(found: Sequence[Found], scores: Sequence[FloatArray]) -> Predictions:
    """The candidates as predictions with other scores."""
    return {
        f.photo.id: [replace(p, score=float(s)) for p, s in zip(f.predictions, own, strict=True)]
        for f, own in zip(found, scores, strict=True)
    }


def fit(found: Sequence[Found]) -> Weights:
    """The weights under which the scores of those who are no duplicates are most likely right.

    A duplicate counts neither way: its surer one has the person.
    """
    facts = [evidence(few_bins(f.masks.probs), f.masks.scores) for f in found]
    rows = np.concatenate(facts)
    weights: Weights = ()
    for _ in range(ROUNDS):
        scores = scored(found, weights)
        right, counts = judged([f.photo for f in found], with_scores(found, scores))
        alone = np.concatenate(
            [
                own >= 0.5 * person_scores(few_bins(f.masks.probs), f.masks.scores, weights)
                for f, own in zip(found, scores, strict=True)
            ]
        )
        used = counts & alone
        weights = logistic(rows[used], right[used])
    return weights


def logistic(rows: FloatArray, right: BoolArray) -> Weights:
    """Constant and weights, none negative, of the logistic regression of ``right`` on [N, F].

    Raises:
        InputError: if all are right, or none is.
    """
    if right.all() or not right.any():
        raise InputError(
            f"of {len(right)} candidates {right.sum()} are people: take more photos (--photos)"
        )
    columns = np.column_stack([np.ones(len(rows)), np.asarray(rows, np.float64)])
    free, weights = np.ones(columns.shape[1], bool), np.zeros(columns.shape[1])
    for _ in range(50):  # Newton's steps; a weight that turns negative is left out
        some = columns[:, free]
        guess = 1 / (1 + np.exp(-some @ weights[free]))
        slope = some.T @ (right - guess) - RIDGE * weights[free]
        bend = some.T @ (some * (guess * (1 - guess))[:, None]) + RIDGE * np.eye(free.sum())
        weights[free] += np.linalg.solve(bend, slope)
        if (turned := free & (weights < 0) & (np.arange(len(weights)) > 0)).any():
            free &= ~turned
            weights[:] = 0
    return tuple(round(float(weight), 4) for weight in weights)


def limits_table(found: Sequence[Found], weights: Weights) -> str:
    """What each default score would show: people, their IoU after arbitration, false people."""
    rows = []
    truths = [people_of(f.photo) for f in found]
    scores = scored(found, weights)
    for limit in LIMITS:
        shown: Predictions = {}
        ious: list[float] = []
        for item, (people, masks), own in zip(found, truths, scores, strict=True):
            some = replace(item.masks, scores=own, fuse="arbitrate").select(own >= limit)
            shown[item.photo.id] = to_predictions(some)
            ious += person_ious(item.photo, people, masks, shown[item.photo.id])
        right, counts = judged([f.photo for f in found], shown)
        every, seen = np.array(ious), np.array(ious) > 0
        false = (counts & ~right).sum() / len(found)
        rows.append(
            [f"{limit:.2f}", f"{seen.mean():.1%}", f"{every[seen].mean():.4f}",
             f"{every.mean():.4f}", f"{false:.2f}"]
        )  # fmt: skip
    heads = ["lowest score", "found", "IoU of the found", "IoU of all", "false in a photo"]
    return table_text(heads, rows)


def people_of(photo: Photo) -> tuple[list[int], list[BoolArray]]:
    """The rows of the people with a mask, and their masks bool [H, W]."""
    rows = [i for i, person in enumerate(photo.people) if person.is_target and person.has_mask]
    return rows, [decode_mask(photo.people[i], photo.size_hw) for i in rows]


def person_ious(
    photo: Photo, rows: Sequence[int], truths: Sequence[BoolArray], shown: Sequence[Prediction]
) -> Iterator[float]:
    """The IoU of each person who is not tiny with the prediction matched with it, or 0."""
    people = [photo.people[row] for row in rows]
    for person, truth, match in zip(
        people, truths, match_people(people, truths, shown), strict=True
    ):
        if (person.box_xyxy[2:] - person.box_xyxy[:2]).min() >= MIN_SIDE:
            yield 0.0 if match is None else image_iou(decode_rle(shown[match].rle), truth)


def write(folder: Path, weights: Weights) -> Iterator[Path]:
    """Write the weights into the files of a folder; their paths come back."""
    for path in (folder / HEAD_NAME, folder / INT8_HEAD_NAME):
        if path.is_file():
            model = onnx.load(path)
            facts = {entry.key: entry.value for entry in model.metadata_props}
            helper.set_model_props(model, {**facts, "score_weights": json.dumps(list(weights))})
            write_atomically(path, serialized(model))
            yield path
    if (path := folder / WEIGHTS_NAME).is_file():
        trained = read_trained(path)
        spec = replace(trained.spec, score_weights=weights)
        save_weights(path, trained.weights, spec, half=True)
        yield path


def report(found: Sequence[Found], weights: Weights) -> Iterator[str]:
    """AP and calibration before and after, and the default scores compared."""
    photos = [f.photo for f in found]
    for name, scores in (
        ("detector", [f.masks.scores for f in found]), ("people", scored(found, weights)),
    ):  # fmt: skip
        predictions = with_scores(found, scores)
        stats = average_precision(photos, predictions).stats
        yield f"{name}: mask AP {stats['AP']:.4f}, AP50 {stats['AP50']:.4f}, each mask by itself"
        if (own := calibration(photos, predictions)) is not None:
            yield calibration_text(name, own)
    yield limits_table(found, weights)


def main() -> int:
    """Fit, print and write; the exit code comes back."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ann", type=Path, required=True, help="COCO annotations of training")
    parser.add_argument("--img_dir", type=Path, required=True, help="their photos")
    parser.add_argument("--photos", type=int, default=400, help="photos drawn at random by seed 0")
    parser.add_argument("--dry_run", action="store_true", help="change no file")
    given = parser.parse_args()
    try:
        photos, _ = load_photos(given.ann, given.img_dir)
        drawn = np.random.default_rng(0).permutation(len(photos))[: given.photos]
        with MaskPredictor(given.folder / HEAD_NAME, device="cpu") as predictor:
            found = [collect(predictor, photos[i]) for i in tqdm(sorted(drawn), unit="photos")]
        weights = fit(found)
        print("\n\n".join(report(found, weights)), f"\n\nscore_weights {list(weights)}")
        for path in () if given.dry_run else write(given.folder, weights):
            print(f"written: {path}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

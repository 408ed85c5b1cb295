"""Masks in a detector's own boxes, the surest only or weak candidates too, by several rules.

uv run python benchmarks/low_scores.py --ann ANN --img_dir DIR
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import read_image
from human_edge_detection.core.rle import decode_rle, encode_window
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.coco import average_precision
from human_edge_detection.evaluation.evaluate import nearest_overlap
from human_edge_detection.evaluation.metrics import image_iou
from human_edge_detection.evaluation.predictions import Prediction, Predictions, match_people
from human_edge_detection.masks.instance_masks import InstanceMasks

LOWEST = (0.3, 0.1, 0.01)
MIN_SIDE = 12.0
FOUND = 0.5
"""Mask IoU from which a person counts as found."""

HEAD = (
    "| lowest score | rule | found | IoU of the found | of all, others 0 | mask AP50 | AP | "
    "mean IoU | overlap > 0.1 | > 0.3 |"
)


def by_rule(masks: InstanceMasks) -> Iterator[tuple[str, InstanceMasks]]:
    """The same people, fused by each rule under its name."""
    yield "independent", replace(masks, fuse="independent")
    yield "priority", replace(masks, fuse="priority")
    yield "arbitrate, all scores 1", replace(masks, scores=np.ones_like(masks.scores))
    yield "arbitrate", masks


def to_predictions(masks: InstanceMasks, scores: Sequence[float]) -> list[Prediction]:
    """One prediction per person."""
    return [
        Prediction(encode_window(mask, bounds, masks.size_hw), box, float(score))
        for (mask, bounds), box, score in zip(
            masks.iter_binary(), masks.boxes_xyxy, scores, strict=True
        )
    ]


def people_ious(photo: Photo, predictions: list[Prediction]) -> Iterator[tuple[float, float]]:
    """Nearest box overlap and IoU of each annotated person, 0 for who was not found."""
    people = [p for p in photo.people if p.is_target and p.has_mask]
    truths = [decode_mask(person, photo.size_hw) for person in people]
    matches = match_people(people, truths, predictions)
    for person, truth, match in zip(people, truths, matches, strict=True):
        if (person.box_xyxy[2:] - person.box_xyxy[:2]).min() >= MIN_SIDE:
            own = None if match is None else decode_rle(predictions[match].rle)
            yield nearest_overlap(person, photo), 0.0 if own is None else image_iou(own, truth)


def main() -> None:
    """Print one line per lowest score and rule: who is found, AP, and mean IoU of all people."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("ann", "img_dir"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    photos, _ = load_photos(arguments.ann, arguments.img_dir)
    found: dict[tuple[float, str], Predictions] = defaultdict(dict)
    ious: dict[tuple[float, str], list[tuple[float, float]]] = defaultdict(list)
    with MaskPredictor(device="cpu") as predictor:
        for photo in photos:
            everybody = predictor.segment(read_image(photo.file), min(LOWEST))
            for lowest in LOWEST:
                kept = everybody.select(everybody.scores >= lowest)
                for rule, masks in by_rule(kept):
                    predictions = to_predictions(masks, kept.scores.tolist())
                    found[lowest, rule][photo.id] = predictions
                    ious[lowest, rule] += people_ious(photo, predictions)
    print(f"{HEAD}\n|{'---|' * 10}")
    for (lowest, rule), predictions in found.items():
        stats = average_precision(photos, predictions).stats
        pairs = np.array(ious[lowest, rule])
        means = [pairs[pairs[:, 0] > least, 1].mean() for least in (-1, 0.1, 0.3)]
        is_found = pairs[:, 1] >= FOUND
        own = pairs[is_found, 1]
        people = [is_found.mean(), own.mean(), own.sum() / len(pairs)]
        cells = [*people, stats["AP50"], stats["AP"], *means]
        print(f"| {lowest} | {rule} | {' | '.join(f'{cell:.4f}' for cell in cells)} |")
    for lowest in LOWEST:
        stats = average_precision(photos, found[lowest, "arbitrate"], "bbox").stats
        print(f"box AP50 from {lowest}: {stats['AP50']:.4f}, AP {stats['AP']:.4f}")


if __name__ == "__main__":
    main()

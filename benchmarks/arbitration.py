"""Compares the rules that decide who owns a pixel, on the people of a COCO-format file.

uv run python benchmarks/arbitration.py --model HEAD.onnx --extractor NET.onnx \
    --ann ANN --img_dir DIR
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from human_edge_detection import MaskPredictor
from human_edge_detection.core.images import read_image
from human_edge_detection.data.annotations import decode_mask
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.evaluation.evaluate import nearest_overlap
from human_edge_detection.evaluation.metrics import image_iou
from human_edge_detection.masks.fusion import RULES

GROUPS = ((0.1, "> 0.1"), (0.3, "> 0.3"))
MIN_SIDE = 12.0


def main() -> None:
    """Print one line per rule: mean IoU of overlapped people, and pixels claimed twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "extractor", "ann", "img_dir"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    photos, _ = load_photos(arguments.ann, arguments.img_dir)
    rules = ("independent", *(rule for rule in RULES if rule != "independent"))
    ious: dict[str, list[tuple[float, float]]] = {rule: [] for rule in rules}
    twice = dict.fromkeys(rules, 0)
    with MaskPredictor(arguments.model, arguments.extractor, device="cpu") as predictor:
        for photo in photos:
            people = [p for p in photo.people if not p.is_crowd]
            predictor.set_image(read_image(photo.file))
            masks = predictor.predict(np.stack([p.box_xyxy for p in people]))
            for rule in rules:
                own = replace(masks, fuse=rule).binary()
                twice[rule] += int(np.maximum(np.sum(own, axis=0) - 1, 0).sum())
                for person, mask in zip(people, own, strict=True):
                    sides = person.box_xyxy[2:] - person.box_xyxy[:2]
                    if person.has_mask and sides.min() >= MIN_SIDE:
                        iou = image_iou(mask, decode_mask(person, photo.size_hw))
                        ious[rule].append((nearest_overlap(person, photo), iou))
    heads = [f"box overlap {name}" for _, name in GROUPS]
    print(f"| rule | all | {' | '.join(heads)} | pixels claimed twice |\n|---|---|---|---|---|")
    for rule in rules:
        pairs = np.array(ious[rule])
        cells = [pairs[:, 1].mean()] + [pairs[pairs[:, 0] > low, 1].mean() for low, _ in GROUPS]
        print(f"| {rule} | {' | '.join(f'{cell:.4f}' for cell in cells)} | {twice[rule]:,} |")
    counts = [len(ious["independent"])] + [
        sum(overlap > low for overlap, _ in ious["independent"]) for low, _ in GROUPS
    ]
    print(f"people: {counts}")


if __name__ == "__main__":
    main()

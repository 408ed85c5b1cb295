"""Recomputes the headline numbers of a ``results.json`` without any code of the project.

``python tests/independent_score.py validation_results/MODEL/results.json ANNOTATIONS.json``
"""

import json
import sys
from collections import defaultdict

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO


def between(rows, places):
    """The rows of a table at places between its whole rows."""
    low = np.clip(places.astype(int), 0, len(rows) - 2)
    part = (places - low)[:, None]
    return rows[low] * (1 - part) + rows[low + 1] * part


def coverage(mask, roi, size):
    """Part of each bin of a ROI that a mask covers, from an integral image."""
    integral = np.pad(mask.astype(float).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    ys, xs = (np.linspace(roi[1 - i], roi[3 - i], size + 1) for i in (0, 1))
    corners = between(between(integral, ys).T, xs).T
    sums = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    return sums / ((xs[1] - xs[0]) * (ys[1] - ys[0]))


def edge_band(mask):
    """The mask's pixels that a square of 2 % of the diagonal around them does not lie inside of."""
    width = max(1, round(0.02 * float(np.hypot(*mask.shape))))
    padded = np.pad(mask.astype(int), width)
    integral = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = 2 * width + 1
    inside = integral[side:, side:] - integral[:-side, side:]
    inside += integral[:-side, :-side] - integral[side:, :-side]
    return mask & (inside < side * side)


def iou(first, second):
    """Intersection over union of two masks."""
    return (first & second).sum() / max(1, (first | second).sum())


def score(results, coco, min_side=12):
    """The headline numbers by name."""
    ious, boundary_ious, roi_ious, counts = [], [], [], np.zeros((2, 3, 3), int)
    shapes = defaultdict(dict)
    for a in coco.anns.values():
        shapes[a["image_id"]][a["id"]] = coco.annToMask(a).astype(bool)
    for result in results:
        person, people = coco.anns[result["annotation_id"]], shapes[result["image_id"]]
        others = [k for k in people if k != person["id"]]
        crowds = [people[k] for k in others if coco.anns[k]["iscrowd"]]
        known = [people[k] for k in others if not coco.anns[k]["iscrowd"]]
        truth, nobody = people[person["id"]], np.zeros_like(people[person["id"]])
        predicted = coco_mask.decode(result["segmentation"]).astype(bool)
        if min(person["bbox"][2:]) >= min_side:
            ious.append(iou(predicted, truth))
            boundary_ious.append(iou(edge_band(predicted), edge_band(truth)))
        bins = result["bins"]
        labels = coco_mask.decode(bins["target"]) + 2 * coco_mask.decode(bins["non_target"])
        size, union = len(labels), np.any([nobody, *known], axis=0)
        unsure = np.any([nobody, *crowds], axis=0) & ~union & ~truth
        parts = [coverage(m, bins["roi_xyxy"], size) for m in (truth, union, unsure)]
        rest = np.maximum(1 - sum(parts), 0)
        target = np.array([2, 255, 0])[np.argmax([parts[1], parts[2], rest], axis=0)]
        target[parts[0] >= 0.5] = 1
        own = [[((target == t) & (labels == p)).sum() for p in range(3)] for t in range(3)]
        own = np.array(own)
        counts[0] += own
        counts[1] += own * bool(own[2].sum())
        roi_ious.append(own[1, 1] / max(1, own[1].sum() + own[:, 1].sum() - own[1, 1]))
    each = [[m[k, k] / (m[k].sum() + m[:, k].sum() - m[k, k]) for k in range(3)] for m in counts]
    return {
        "target_iou_image": np.mean(ious), "boundary_iou": np.mean(boundary_ious),
        "miou": np.mean(each[0][1:]), "iou_background": each[0][0], "iou_target": each[0][1],
        "iou_non_target": each[0][2], "target_iou_roi": np.mean(roi_ious),
        "contested_iou_non_target": each[1][2],
        "separation_accuracy": (counts[1][1, 1] + counts[1][2, 2]) / counts[1][1:].sum(),
        "swap_rate": (counts[1][1, 2] + counts[1][2, 1]) / counts[1][1:].sum(),
    }  # fmt: skip


if __name__ == "__main__":
    for name, value in score(json.load(open(sys.argv[1])), COCO(sys.argv[2])).items():
        print(f"{name:26s}{value:.5f}")

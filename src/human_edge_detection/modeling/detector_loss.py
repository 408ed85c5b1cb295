"""The person detector's loss, the one that RTMDet was trained with (Lyu et al., 2022).

Another assignment of candidates to people would first undo what the published weights hold: by the
loss of task-aligned detection their gradients on 28 photos point one way (the mean's norm is 0.94
of the mean norm), by this one they are noise (0.24).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.rtmdet import Candidates

IGNORED_OVERLAP = 0.5
"""Fraction of a candidate's box inside an ignored region from which its score costs nothing."""
TOP_POINTS = 13
"""Candidates of a person whose IoUs are summed to the number of those assigned to it."""
IOU_COST, BOX_WEIGHT = 3.0, 2.0
CENTRE_BASE, FREE_CELLS = 10.0, 3.0
"""A point this many cells from the person's centre costs 1, one cell more ten times as much."""


class DetectorCosts(NamedTuple):
    """The detector's loss and its terms, scalars."""

    total: Tensor
    box: Tensor
    score: Tensor


class Assignment(NamedTuple):
    """The targets of one image's candidates.

    Attributes:
        person: int64 [A], row of the person a candidate is assigned to, -1 for none.
        quality: float32 [A], the target of its score: 0 without a person, else up to 1.
        weight: float32 [A], weight of its score in the loss, 0 where the truth is unknown.
    """

    person: Tensor
    quality: Tensor
    weight: Tensor


def detector_loss(candidates: Candidates, targets: Sequence[BoxTargets]) -> DetectorCosts:
    """Quality focal loss of the scores plus ``BOX_WEIGHT`` · (1 - GIoU) of the boxes, in float32.

    A score should be the IoU of its box. Both are divided by the people's summed IoUs, at least 1.
    Candidates and targets are of the same B images.
    """
    with torch.autocast(candidates.boxes.device.type, enabled=False):
        box_sum = score_sum = total = candidates.logits.new_zeros(())
        for boxes, logits, target in zip(candidates.boxes, candidates.logits, targets, strict=True):
            found = assign(Candidates(boxes, logits, *candidates[2:]), target)
            score_sum = score_sum + (quality_focal(logits, found.quality) * found.weight).sum()
            chosen = found.person >= 0
            people = boxes_tensor(target.boxes, boxes)[found.person[chosen]]
            misfit = 1 - generalized_iou(boxes[chosen], people)
            box_sum = box_sum + (misfit * found.quality[chosen]).sum()
            total = total + found.quality.sum()
        norm = total.clamp_min(1.0)
        box, score = box_sum / norm, score_sum / norm
        return DetectorCosts(BOX_WEIGHT * box + score, box, score)


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """The cross-entropy to a soft label, weighted by the square of what is missing; same shape."""
    costs = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return costs * (quality - logits.sigmoid()).square()


@torch.no_grad()
def assign(candidates: Candidates, target: BoxTargets) -> Assignment:
    """Each person's cheapest candidates, as many as their best IoUs sum to.

    Cheap is a candidate whose box fits, whose score tells so and whose point is near the person's
    centre. One that several people want answers for the one that it is cheapest for. Candidates
    are those of one image: boxes [A, 4], logits [A].
    """
    boxes, logits, points, strides = candidates
    person = torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    quality = boxes.new_zeros(len(boxes))
    weight = negative_weights(candidates, target)
    people = boxes_tensor(target.boxes, boxes)
    if len(people) == 0:
        return Assignment(person, quality, weight)
    allowed = points_allowed(people, points)
    iou = pairwise_iou(people, boxes) * allowed
    centres = (people[:, :2] + people[:, 2:]) / 2
    cells = torch.cdist(centres, points) / strides
    cost = quality_focal(logits.expand_as(iou), iou) - IOU_COST * (iou + 1e-7).log()
    cost = cost + CENTRE_BASE ** (cells.clamp_max(30.0) - FREE_CELLS)
    cost = torch.where(allowed, cost, cost.new_full((), torch.inf))
    best = iou.topk(min(TOP_POINTS, iou.shape[1]), dim=1).values
    counts = torch.minimum(best.sum(dim=1).long().clamp_min(1), allowed.sum(dim=1))
    rank = cost.argsort(dim=1).argsort(dim=1)
    wanted = torch.where(rank < counts[:, None], cost, cost.new_full((), torch.inf))
    cheapest = wanted.min(dim=0)
    taken = cheapest.values.isfinite()
    person[taken] = cheapest.indices[taken]
    quality[taken] = iou[person[taken], taken.nonzero()[:, 0]]
    weight[taken] = 1.0
    return Assignment(person, quality, weight)


def negative_weights(candidates: Candidates, target: BoxTargets) -> Tensor:
    """Weight float32 [A] of each candidate's score as long as it answers for nobody."""
    boxes = candidates.boxes
    weight = boxes.new_full((len(boxes),), float(target.exhaustive))
    ignored = boxes_tensor(target.ignored, boxes)
    if len(ignored):
        area = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(dim=1)
        covered = _shared_area(ignored, boxes) / area.clamp_min(1e-6)
        hidden = (covered >= IGNORED_OVERLAP) | _holds(ignored, candidates.points)
        weight[hidden.any(dim=0)] = 0.0
    return weight


def boxes_tensor(boxes: object, like: Tensor) -> Tensor:
    """Boxes as float32 [N, 4] where ``like`` is."""
    return torch.as_tensor(boxes, dtype=torch.float32, device=like.device).reshape(-1, 4)


def points_allowed(people: Tensor, points: Tensor) -> Tensor:
    """Which points [A, 2] may answer for which people [P, 4], bool [P, A]: those in the box.

    The nearest one always may.
    """
    return _holds(people, points) | _nearest(people, points)


def _holds(boxes: Tensor, points: Tensor) -> Tensor:
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    return ((points[None] > low) & (points[None] < high)).all(dim=2)


def _nearest(boxes: Tensor, points: Tensor) -> Tensor:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = torch.cdist(centres, points).argmin(dim=1, keepdim=True)
    return torch.zeros(len(boxes), len(points), dtype=torch.bool, device=boxes.device).scatter(
        1, nearest, True
    )


def _shared_area(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    return (high - low).clamp_min(0).prod(dim=2)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union float32 [N, M] of boxes [N, 4] and [M, 4]."""
    shared = _shared_area(first, second)
    areas = [(b[:, 2:] - b[:, :2]).clamp_min(0).prod(dim=1) for b in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp_min(1e-6)


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU minus the empty part of the hull, float32 [N] in -1…1, of boxes row by row."""
    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp_min(0).prod(dim=1)
    areas = [(b[:, 2:] - b[:, :2]).clamp_min(0).prod(dim=1) for b in (first, second)]
    union = (areas[0] + areas[1] - shared).clamp_min(1e-6)
    hull_low = torch.minimum(first[:, :2], second[:, :2])
    hull_high = torch.maximum(first[:, 2:], second[:, 2:])
    hull = (hull_high - hull_low).prod(dim=1).clamp_min(1e-6)
    return shared / union - (hull - union) / hull

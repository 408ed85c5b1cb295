"""The person detector's loss: candidates are assigned to people, scores and boxes compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.person_network import Candidates, DetectorCosts

TOP_POINTS = 10
SCORE_POWER, IOU_POWER = 0.5, 4.0
IGNORED_OVERLAP = 0.5
"""Fraction of a candidate's box inside an ignored region from which its score costs nothing."""


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


def detector_loss(
    candidates: Candidates, targets: Sequence[BoxTargets], box_weight: float = 2.0
) -> DetectorCosts:
    """Cross-entropy of the scores plus ``box_weight`` · (1 - GIoU) of the boxes, in float32.

    Both are divided by the summed qualities of the people's candidates (at least 1), as in
    task-aligned detection (Feng et al., TOOD, 2021).

    Args:
        candidates: the detector's output for B images.
        targets: B images' people.
        box_weight: factor of the box term.
    """
    return summed_costs(candidates, targets, assign, _cross_entropy, box_weight)


def _cross_entropy(logits: Tensor, found: Assignment) -> Tensor:
    return functional.binary_cross_entropy_with_logits(
        logits, found.quality, found.weight, reduction="sum"
    )


def summed_costs(
    candidates: Candidates,
    targets: Sequence[BoxTargets],
    assign_to: Callable[[Candidates, BoxTargets], Assignment],
    score_cost: Callable[[Tensor, Assignment], Tensor],
    box_weight: float,
) -> DetectorCosts:
    """The costs of both terms in float32, divided by the summed qualities (at least 1).

    Args:
        candidates: the detector's output for B images.
        targets: B images' people.
        assign_to: assigns one image's candidates to its people.
        score_cost: the summed cost of one image's logits float [A] under an assignment.
        box_weight: factor of the box term, (1 - GIoU) weighted by the qualities.
    """
    with torch.autocast(candidates.boxes.device.type, enabled=False):
        box_sum = score_sum = total = candidates.logits.new_zeros(())
        for boxes, logits, target in zip(candidates.boxes, candidates.logits, targets, strict=True):
            single = Candidates(boxes, logits, candidates.points, candidates.strides)
            found = assign_to(single, target)
            score_sum = score_sum + score_cost(logits, found)
            chosen = found.person >= 0
            people = boxes_tensor(target.boxes, boxes)[found.person[chosen]]
            misfit = 1 - generalized_iou(boxes[chosen], people)
            box_sum = box_sum + (misfit * found.quality[chosen]).sum()
            total = total + found.quality.sum()
        norm = total.clamp_min(1.0)
        box, score = box_sum / norm, score_sum / norm
        return DetectorCosts(box_weight * box + score, box, score)


@torch.no_grad()
def assign(candidates: Candidates, target: BoxTargets) -> Assignment:
    """Each person's best candidates by score and IoU together, among the points in the box.

    A candidate of several people is assigned to the one of largest IoU. A person too small to
    contain a point takes the nearest one.

    Args:
        candidates: of one image: boxes [A, 4], logits [A].
        target: the image's people.
    """
    boxes, points = candidates.boxes, candidates.points
    person = torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    quality = boxes.new_zeros(len(boxes))
    weight = negative_weights(candidates, target)
    people = boxes_tensor(target.boxes, boxes)
    if len(people) == 0:
        return Assignment(person, quality, weight)
    iou = pairwise_iou(people, boxes)
    fit = candidates.logits.sigmoid() ** SCORE_POWER * iou**IOU_POWER
    inside = points_allowed(people, points)
    # 1e-9 keeps candidates that do not overlap yet apart from points outside the box
    metric = torch.where(inside, fit + 1e-9, fit.new_zeros(()))
    limit = metric.topk(min(TOP_POINTS, metric.shape[1]), dim=1).values[:, -1:]
    wanted = inside & (metric >= limit)
    owner = torch.where(wanted, iou + 1e-6, iou.new_full((), -1.0)).max(dim=0)
    taken = owner.values > 0
    person[taken] = owner.indices[taken]
    own = wanted & (person[None] == torch.arange(len(people), device=boxes.device)[:, None])
    metric, iou = metric * own, iou * own
    best_iou, best_fit = iou.amax(dim=1), metric.amax(dim=1).clamp_min(1e-12)
    quality[taken] = (metric * (best_iou / best_fit)[:, None]).amax(dim=0)[taken]
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

"""The loss that RTMDet's detector was trained with (Lyu et al., 2022), so that it may go on.

Another assignment of candidates to people would first undo what the published weights know: by the
loss in ``detector_loss`` their gradients on 28 photos point one way (the mean's norm is 0.94 of the
mean norm), by this one they are noise (0.24).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.detector_loss import (
    Assignment,
    boxes_tensor,
    negative_weights,
    pairwise_iou,
    points_allowed,
    summed_costs,
)
from human_edge_detection.modeling.person_network import Candidates, DetectorCosts

TOP_POINTS = 13
"""Candidates of a person whose IoUs are summed to the number of those assigned to it."""
IOU_COST = 3.0
CENTRE_BASE, FREE_CELLS = 10.0, 3.0
"""A point this many cells from the person's centre costs 1, one cell more ten times as much."""


def soft_label_loss(
    candidates: Candidates, targets: Sequence[BoxTargets], box_weight: float = 2.0
) -> DetectorCosts:
    """Quality focal loss of the scores plus ``box_weight`` · (1 - GIoU) of the boxes, in float32.

    A score should be the IoU of its box. Both are divided by the people's summed IoUs, at least 1.

    Args:
        candidates: the detector's output for B images.
        targets: B images' people.
        box_weight: factor of the box term.
    """
    return summed_costs(candidates, targets, assign_softly, _focal, box_weight)


def _focal(logits: Tensor, found: Assignment) -> Tensor:
    return (quality_focal(logits, found.quality) * found.weight).sum()


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """The cross-entropy to a soft label, weighted by the square of what is missing; same shape."""
    costs = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return costs * (quality - logits.sigmoid()).square()


@torch.no_grad()
def assign_softly(candidates: Candidates, target: BoxTargets) -> Assignment:
    """Each person's cheapest candidates, as many as their best IoUs sum to.

    Cheap is a candidate whose box fits, whose score tells so and whose point is near the person's
    centre. One that several people want answers for the one that it is cheapest for.

    Args:
        candidates: of one image: boxes [A, 4], logits [A].
        target: the image's people.
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

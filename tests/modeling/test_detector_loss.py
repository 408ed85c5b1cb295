"""The detector's loss: who answers for whom, what is ignored, what is cheaper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.detector_loss import (
    Candidates,
    assign,
    detector_loss,
    generalized_iou,
    pairwise_iou,
)
from human_edge_detection.modeling.person_network import grid_points

NOBODY = np.zeros((0, 4), np.float32)
PEOPLE = np.array([[8, 8, 40, 56], [36, 10, 60, 60]], np.float32)


def candidates(reach: float = 12.0, logit: float = -2.0) -> Candidates:
    """A square of half-side ``reach`` around every cell's centre of an 8x8 map of stride 8."""
    points = grid_points(8, 8, 8)
    boxes = torch.cat([points - reach, points + reach], dim=1)[None]
    return Candidates(boxes, torch.full((1, 64), logit), points, torch.full((64,), 8.0))


def one(found: Candidates) -> Candidates:
    return found._replace(boxes=found.boxes[0], logits=found.logits[0])


def targets(boxes: np.ndarray = PEOPLE, ignored: np.ndarray = NOBODY) -> BoxTargets:
    return BoxTargets(boxes, ignored)


def perfect(people: np.ndarray = PEOPLE) -> Candidates:
    """Every point answers with the person it would be assigned to, surely; others with nobody."""
    base = candidates()
    person = assign(one(base), targets(people)).person
    boxes = base.boxes.clone()
    boxes[0, person >= 0] = torch.from_numpy(people)[person[person >= 0]]
    logits = torch.where(person >= 0, 8.0, -8.0)[None]
    return base._replace(boxes=boxes, logits=logits)


def test_grid_points_are_cell_centres() -> None:
    assert grid_points(1, 2, 8).tolist() == [[4, 4], [12, 4]]
    assert grid_points(2, 1, 16).tolist() == [[8, 8], [8, 24]]


def test_iou_written_out() -> None:
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1]])
    assert pairwise_iou(first, second)[0].tolist() == pytest.approx([2 / 6, 0])
    # 2 of 6 shared, no empty hull; apart by one cell: 0 - 1 empty of 3
    assert generalized_iou(first, second).tolist() == pytest.approx([2 / 6, -1 / 3])


def test_points_outside_every_box_answer_for_nobody() -> None:
    found = assign(one(candidates()), targets())
    outside = torch.tensor([x < 8 or y < 8 for x, y in candidates().points.tolist()])
    assert (found.person[outside] == -1).all()
    assert (found.quality[outside] == 0).all()
    assert (found.weight == 1).all()
    assert set(found.person.tolist()) == {-1, 0, 1}


def test_best_candidate_of_a_person_has_its_iou_as_quality() -> None:
    found = assign(one(candidates()), targets())
    iou = pairwise_iou(torch.from_numpy(PEOPLE), candidates().boxes[0])
    for row in range(2):
        own = found.person == row
        assert found.quality[own].max().item() == pytest.approx(iou[row][own].max().item())


def test_person_between_the_points_takes_the_nearest() -> None:
    found = assign(one(candidates()), targets(np.array([[17, 17, 19, 19]], np.float32)))
    assert torch.nonzero(found.person >= 0).flatten().tolist() == [18]  # centre (20, 20)


def test_ignored_regions_cost_nothing() -> None:
    region = np.array([[0, 0, 32, 64]], np.float32)
    found = assign(one(candidates(reach=6.0)), targets(NOBODY, region))
    left = candidates().points[:, 0] < 32
    assert (found.weight[left] == 0).all()
    assert (found.weight[~left] == 1).all()


def test_unmatched_points_cost_nothing_where_not_everybody_is_annotated() -> None:
    found = assign(one(candidates()), replace(targets(), exhaustive=False))
    assert torch.equal(found.weight > 0, found.person >= 0)


def test_good_answers_cost_less_and_nothing_is_nan() -> None:
    good = detector_loss(perfect(), [targets()])
    bad = detector_loss(candidates(), [targets()])
    assert good.total < 0.05
    assert good.box == pytest.approx(0, abs=1e-5)
    assert bad.total > 5 * good.total
    empty = detector_loss(candidates(), [targets(NOBODY)])
    assert torch.isfinite(empty.total)
    assert empty.box == 0


def test_gradients_pull_boxes_and_scores() -> None:
    base = candidates()
    boxes = base.boxes.clone().requires_grad_()
    logits = base.logits.clone().requires_grad_()
    found = assign(one(base), targets())
    detector_loss(base._replace(boxes=boxes, logits=logits), [targets()]).total.backward()
    assert boxes.grad is not None
    assert logits.grad is not None
    assert torch.equal(boxes.grad[0].abs().sum(1) > 0, found.person >= 0)
    assert (logits.grad[0][found.person < 0] > 0).all()


def test_a_batch_costs_as_its_images_together() -> None:
    single = candidates()
    both = single._replace(boxes=single.boxes.expand(2, -1, -1), logits=single.logits.expand(2, -1))
    once = detector_loss(single, [targets()])
    twice = detector_loss(both, [targets(), targets()])
    assert twice.total.item() == pytest.approx(once.total.item(), rel=1e-5)

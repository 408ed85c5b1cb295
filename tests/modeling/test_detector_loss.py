"""The detector's loss: who answers for whom, what is ignored, what is cheaper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from human_edge_detection.core.structures import BoxTargets
from human_edge_detection.modeling.detector_loss import (
    assign,
    detector_loss,
    generalized_iou,
    pairwise_iou,
    quality_focal,
)
from human_edge_detection.modeling.rtmdet import Candidates, grid_points

NOBODY = np.zeros((0, 4), np.float32)
PEOPLE = np.array([[8, 8, 40, 56], [36, 10, 60, 60]], np.float32)


def candidates(reach: float = 12.0, logit: float = -2.0) -> Candidates:
    """A square of half-side ``reach`` around every cell's corner of an 8x8 map of stride 8."""
    points = grid_points(8, 8, 8)
    boxes = torch.cat([points - reach, points + reach], dim=1)[None]
    return Candidates(boxes, torch.full((1, 64), logit), points, torch.full((64,), 8.0))


def one(found: Candidates) -> Candidates:
    return found._replace(boxes=found.boxes[0], logits=found.logits[0])


def targets(boxes: np.ndarray = PEOPLE, ignored: np.ndarray = NOBODY) -> BoxTargets:
    return BoxTargets(boxes, ignored)


def test_grid_points_are_the_cells_corners() -> None:
    assert grid_points(1, 2, 8).tolist() == [[0, 0], [8, 0]]
    assert grid_points(2, 1, 16).tolist() == [[0, 0], [0, 16]]


def test_iou_written_out() -> None:
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1]])
    assert pairwise_iou(first, second)[0].tolist() == pytest.approx([2 / 6, 0])
    # 2 of 6 shared, no empty hull; apart by one cell: 0 - 1 empty of 3
    assert generalized_iou(first, second).tolist() == pytest.approx([2 / 6, -1 / 3])


def test_focal_cost_written_out() -> None:
    found = quality_focal(torch.tensor([0.0, 0.0]), torch.tensor([0.5, 1.0]))
    assert found.tolist() == pytest.approx([0.0, np.log(2) / 4])


def test_a_candidate_answers_with_the_iou_of_its_box() -> None:
    found = assign(one(candidates()), targets())
    iou = pairwise_iou(torch.from_numpy(PEOPLE), candidates().boxes[0])
    for row in range(2):
        own = (found.person == row).nonzero()[:, 0]
        assert len(own) >= 1
        torch.testing.assert_close(found.quality[own], iou[row, own])
    assert (found.quality[found.person < 0] == 0).all()
    assert (found.weight == 1).all()


def test_as_many_answer_as_the_ious_sum_to() -> None:
    person = np.array([[8, 8, 56, 56]], np.float32)
    base = candidates()
    exact = base._replace(boxes=torch.from_numpy(person).expand(1, 64, 4).clone())
    assert (assign(one(exact), targets(person)).person >= 0).sum() == 13
    loose = base._replace(boxes=torch.tensor([8.0, 8, 56, 20]).expand(1, 64, 4).clone())  # IoU 1/4
    assert (assign(one(loose), targets(person)).person >= 0).sum() == 3


def test_person_between_the_points_takes_the_nearest() -> None:
    found = assign(one(candidates()), targets(np.array([[17, 17, 19, 19]], np.float32)))
    assert torch.nonzero(found.person >= 0).flatten().tolist() == [18]  # corner (16, 16)


def test_two_people_in_one_place_get_an_answer_each() -> None:
    twice = np.concatenate([PEOPLE[:1], PEOPLE[:1] + np.float32(1)])
    base = candidates()
    boxes = torch.from_numpy(twice)[torch.arange(64) % 2][None]
    found = assign(one(base._replace(boxes=boxes)), targets(twice))
    assert set(found.person.tolist()) == {-1, 0, 1}


def test_ignored_regions_and_unknown_people_cost_nothing() -> None:
    region = np.array([[0, 0, 32, 64]], np.float32)
    found = assign(one(candidates(reach=6.0)), targets(NOBODY, region))
    left = (candidates().points[:, 0] < 32) & (candidates().points > 0).all(dim=1)
    assert (found.weight[left] == 0).all()
    found = assign(one(candidates()), replace(targets(), exhaustive=False))
    assert torch.equal(found.weight > 0, found.person >= 0)


def test_good_answers_cost_less_and_gradients_are_finite() -> None:
    base, person = candidates(), np.array([[8, 8, 56, 56]], np.float32)
    exact = base._replace(boxes=torch.from_numpy(person).expand(1, 64, 4).clone())
    answers = assign(one(exact), targets(person)).person >= 0
    good = exact._replace(logits=torch.where(answers, 8.0, -8.0)[None])
    assert detector_loss(good, [targets(person)]).total == pytest.approx(0, abs=1e-4)
    bad = base._replace(boxes=base.boxes.clone().requires_grad_(), logits=base.logits.clone())
    costs = detector_loss(bad, [targets(person)])
    costs.total.backward()
    assert costs.total > 1
    assert torch.isfinite(bad.boxes.grad).all()
    empty = detector_loss(base, [targets(NOBODY)])
    assert empty.box == 0
    assert torch.isfinite(empty.total)


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

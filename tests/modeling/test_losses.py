"""The loss by its meaning: exact values on a few pixels, then what must hold always."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from human_edge_detection.core.structures import IGNORE_INDEX, NOT_TARGET_INDEX
from human_edge_detection.modeling.losses import RoiMaskLoss, cross_entropy_sum, dice_sum

torch.set_num_threads(1)

WEIGHTS = (0.5, 1.0, 2.0)


def logits_of(probs: list[list[float]]) -> Tensor:
    """Logits [1, 3, 1, P] of P pixels from their class probabilities."""
    return torch.tensor(probs).T[None, :, None].log()


def labels_of(labels: list[int]) -> Tensor:
    return torch.tensor(labels, dtype=torch.uint8)[None, None]


def random_batch(count: int, size: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([0, 1, 2, NOT_TARGET_INDEX, IGNORE_INDEX], dtype=torch.uint8)
    targets = kinds[torch.randint(0, 5, (count, size, size), generator=rng)]
    return torch.randn(count, 3, size, size, generator=rng), targets


def test_cross_entropy_of_four_pixels() -> None:
    logits = logits_of([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    targets = labels_of([0, 1, 2, 0])
    cost = cross_entropy_sum(logits, targets, torch.tensor(WEIGHTS))
    wanted = -(0.5 * math.log(0.5) + math.log(0.5) + 2 * math.log(0.6) + 0.5 * math.log(0.1))
    assert cost.item() == pytest.approx(wanted)
    plain = -(math.log(0.5) + math.log(0.5) + math.log(0.6) + math.log(0.1)) / 4
    assert RoiMaskLoss()(logits, targets)["ce"].item() == pytest.approx(plain)
    norms = RoiMaskLoss(WEIGHTS).normalizers(targets)
    assert norms.tolist() == pytest.approx([0.5 + 1 + 2 + 0.5, 1])


def test_dice_of_four_pixels() -> None:
    logits = logits_of([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]])
    targets = labels_of([1, 1, 2, 0])
    dice = (2 * (0.5 + 0.75) + 1) / ((0.5 + 0.75 + 0.2 + 0.05) + 2 + 1)
    assert dice_sum(logits, targets).item() == pytest.approx(1 - dice)
    other = (2 * 0.6 + 1) / (0.6 + 0.05 + 1 + 1)
    both = dice_sum(logits, targets, classes=(1, 2)).item()
    assert both == pytest.approx((1 - dice + 1 - other) / 2)


def test_the_total_is_the_weighted_sum_of_its_terms() -> None:
    logits, targets = random_batch(3)
    total, ce, dice = RoiMaskLoss(WEIGHTS, {"ce": 0.7, "dice": 3.0})(logits, targets).values()
    assert total.item() == pytest.approx(0.7 * ce.item() + 3 * dice.item())


def test_cross_entropy_equals_torch_without_special_labels() -> None:
    logits, targets = random_batch(4)
    targets[targets == NOT_TARGET_INDEX] = IGNORE_INDEX
    weights = torch.tensor(WEIGHTS)
    wanted = torch.nn.functional.cross_entropy(logits, targets.long(), weights, ignore_index=255)
    found = cross_entropy_sum(logits, targets, weights)
    torch.testing.assert_close(found / RoiMaskLoss(WEIGHTS).normalizers(targets)[0], wanted)


def test_a_better_answer_costs_less() -> None:
    targets = labels_of([0, 1, 1, 2])
    costs = []
    for right in (0.2, 0.4, 0.6, 0.8, 0.98):
        wrong = (1 - right) / 2
        probs = [[right if c == t else wrong for c in range(3)] for t in (0, 1, 1, 2)]
        costs.append(RoiMaskLoss(WEIGHTS)(logits_of(probs), targets).values())
    for worse, better in pairwise(costs):
        assert all(b < w for b, w in zip(better, worse, strict=True))


def test_taking_a_neighbour_costs_more_than_taking_the_background() -> None:
    targets = labels_of([2, 0])
    took_neighbour = logits_of([[0.05, 0.9, 0.05], [0.9, 0.05, 0.05]])
    took_background = logits_of([[0.05, 0.05, 0.9], [0.05, 0.9, 0.05]])
    loss = RoiMaskLoss((0.5375, 0.7498, 1.7128))
    assert loss(took_neighbour, targets)["ce"] > loss(took_background, targets)["ce"]


def test_ignored_pixels_cost_nothing_and_teach_nothing() -> None:
    logits, targets = random_batch(2)
    ignored = targets == IGNORE_INDEX
    other = logits + 5 * ignored[:, None] * torch.randn(logits.shape)
    loss = RoiMaskLoss(WEIGHTS, dice_classes=(0, 1, 2))
    torch.testing.assert_close(loss(logits, targets), loss(other, targets))
    logits.requires_grad_()
    loss(logits, targets)["total"].backward()
    assert logits.grad is not None
    assert (logits.grad * ignored[:, None]).abs().max() == 0
    assert (logits.grad * ~ignored[:, None]).abs().max() > 0


def test_not_target_costs_minus_log_of_what_is_not_the_target() -> None:
    logits = logits_of([[0.3, 0.2, 0.5], [0.1, 0.6, 0.3]])
    targets = labels_of([NOT_TARGET_INDEX, NOT_TARGET_INDEX])
    cost = cross_entropy_sum(logits, targets, torch.tensor(WEIGHTS))
    assert cost.item() == pytest.approx(-0.5 * (math.log(0.8) + math.log(0.4)))
    parts = RoiMaskLoss()(logits, targets)
    assert parts["ce"].item() == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert parts["dice"].item() == pytest.approx(1 - 1 / (0.2 + 0.6 + 1))


def test_not_target_says_nothing_about_who_else() -> None:
    targets = labels_of([NOT_TARGET_INDEX])
    loss = RoiMaskLoss(dice_classes=(0, 1, 2))
    as_background = loss(logits_of([[0.7, 0.2, 0.1]]), targets)
    as_somebody = loss(logits_of([[0.1, 0.2, 0.7]]), targets)
    torch.testing.assert_close(as_background, as_somebody)


def test_no_rois_cost_nothing() -> None:
    logits = torch.zeros(0, 3, 4, 4, requires_grad=True)
    parts = RoiMaskLoss(WEIGHTS)(logits, torch.zeros(0, 4, 4, dtype=torch.uint8))
    assert [part.item() for part in parts.values()] == [0, 0, 0]
    parts["total"].backward()


@pytest.mark.parametrize("label", [0, 1, 2, NOT_TARGET_INDEX, IGNORE_INDEX])
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_uniform_targets_and_huge_logits_stay_finite(label: int, size: float) -> None:
    logits = (size * torch.tensor([1.0, -1.0, 0.5]))[None, :, None, None].repeat(2, 1, 4, 4)
    logits.requires_grad_()
    targets = torch.full((2, 4, 4), label, dtype=torch.uint8)
    parts = RoiMaskLoss(WEIGHTS, dice_classes=(0, 1, 2))(logits, targets)
    assert all(part.isfinite() for part in parts.values())
    parts["total"].backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_an_all_ignored_roi_is_zero_dice_and_zero_cross_entropy() -> None:
    logits, _ = random_batch(1)
    parts = RoiMaskLoss(WEIGHTS)(logits, torch.full((1, 6, 6), IGNORE_INDEX, dtype=torch.uint8))
    assert parts["ce"] == 0
    assert parts["dice"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("cuts", [(3, 4), (1, 6), (2, 2, 3), (0, 7)])
def test_the_parts_of_a_batch_add_up_to_the_whole(cuts: tuple[int, ...]) -> None:
    logits, targets = random_batch(7)
    targets[0] = IGNORE_INDEX
    loss = RoiMaskLoss(WEIGHTS, dice_classes=(1, 2))
    whole = loss(logits, targets)
    parts = list(zip(logits.split(cuts), targets.split(cuts), strict=True))
    norms = sum((loss.normalizers(t) for _, t in parts), start=torch.zeros(2))
    costs = [loss(z, t, norms) for z, t in parts]
    for name, wanted in whole.items():
        torch.testing.assert_close(sum(cost[name] for cost in costs), wanted)


def test_the_loss_is_float32_under_autocast_and_for_half_precision_logits() -> None:
    logits, targets = random_batch(3, size=56)
    logits = 20 * logits
    wanted = RoiMaskLoss(WEIGHTS)(logits.bfloat16().float(), targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = RoiMaskLoss(WEIGHTS)(logits.bfloat16(), targets)
    for one, other in zip(found.values(), wanted.values(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)


def test_gradients_reach_half_precision_logits() -> None:
    logits, targets = random_batch(2)
    leaf = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        RoiMaskLoss(WEIGHTS)(leaf, targets)["total"].backward()
    assert leaf.grad is not None and leaf.grad.dtype == torch.bfloat16
    assert leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0


def test_descending_the_loss_finds_the_labels() -> None:
    _, targets = random_batch(2, seed=1)
    targets[targets > 2] = 0
    logits = torch.zeros(2, 3, 6, 6, requires_grad=True)
    loss = RoiMaskLoss(WEIGHTS)
    for _ in range(60):
        (slope,) = torch.autograd.grad(loss(logits, targets)["total"], logits)
        logits = (logits - 30 * slope).detach().requires_grad_()
    assert torch.equal(logits.argmax(dim=1), targets.long())


def test_class_weights_are_not_learned_but_travel_along() -> None:
    loss = RoiMaskLoss(WEIGHTS)
    assert not list(loss.parameters())
    assert loss.double().class_weights.dtype == torch.float64

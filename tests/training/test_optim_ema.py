"""The moving average, written out for one weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from human_edge_detection.training.optim import MovingAverage


def one_weight(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    set_weight(model, value)
    return model


def set_weight(model: nn.Linear, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def test_the_decay_warms_up() -> None:
    model = one_weight(0.0)
    average = MovingAverage(model, decay=0.999)
    mean = 0.0
    for step in range(1, 30):
        set_weight(model, float(step))
        average.update(model)
        decay = (1 + step) / (10 + step)
        mean = decay * mean + (1 - decay) * step
        assert average.weights["weight"].item() == pytest.approx(mean, rel=1e-5)
    assert average.step == 29


def test_the_decay_ends_where_it_was_set() -> None:
    model = one_weight(0.0)
    average = MovingAverage(model, decay=0.5)
    average.step = 1000
    set_weight(model, 1.0)
    average.update(model)
    assert average.weights["weight"].item() == pytest.approx(0.5)


def test_a_model_that_stands_still_is_its_own_average() -> None:
    model = one_weight(3.0)
    average = MovingAverage(model, decay=0.9)
    for _ in range(5):
        average.update(model)
    assert average.weights["weight"].item() == pytest.approx(3.0)


def test_the_average_is_a_copy() -> None:
    model = one_weight(1.0)
    average = MovingAverage(model, decay=0.9)
    set_weight(model, 5.0)
    assert average.weights["weight"].item() == 1.0


def test_batch_norms_statistics_are_averaged_and_its_counter_copied() -> None:
    norm = nn.BatchNorm2d(2).train()
    average = MovingAverage(norm, decay=0.9)
    for _ in range(3):
        norm(torch.randn(4, 2, 3, 3) + 5)
        average.update(norm)
    assert average.weights["num_batches_tracked"].item() == 3
    mean = average.weights["running_mean"]
    assert (mean > 0).all() and (mean < norm.running_mean + 1).all()


def test_the_average_is_applied_for_a_block_only() -> None:
    model = one_weight(0.0)
    average = MovingAverage(model, decay=0.9)
    set_weight(model, 8.0)
    with average.applied_to(model):
        assert model.weight.item() == 0.0
    assert model.weight.item() == 8.0
    assert average.weights["weight"].item() == 0.0


def test_an_error_in_the_block_still_gives_the_weights_back() -> None:
    model = one_weight(0.0)
    average = MovingAverage(model, decay=0.9)
    set_weight(model, 8.0)
    with pytest.raises(ZeroDivisionError), average.applied_to(model):
        raise ZeroDivisionError
    assert model.weight.item() == 8.0

"""Learning rates written out, step by step."""

from __future__ import annotations

import pytest

from human_edge_detection.training.optim import Schedule


def rates(kind: str, **changes: float) -> list[float]:
    """The rates of a run of 4 epochs of 5 steps, peak 1."""
    facts = {"peak": 1.0, "steps_per_epoch": 5, "epochs": 4, **changes}
    schedule = Schedule(kind, **facts)  # type: ignore[arg-type]
    return [schedule.at(step) for step in range(int(facts["steps_per_epoch"] * facts["epochs"]))]


def test_none_is_constant() -> None:
    assert rates("none", peak=0.3) == [0.3] * 20


def test_cosine_falls_from_the_peak_to_the_floor() -> None:
    found = rates("cosine", floor=0.2)
    assert found[0] == 1.0
    assert found[10] == pytest.approx((1.0 + 0.2) / 2), "half way it is in the middle"
    assert found == sorted(found, reverse=True)
    schedule = Schedule("cosine", 1.0, 5, 4, 0.2)
    assert schedule.at(20) == pytest.approx(0.2)
    assert schedule.at(999) == pytest.approx(0.2), "it stays there"


def test_step_drops_every_few_epochs() -> None:
    found = rates("step", decay_epochs=2, decay_rate=0.1)
    assert found[:10] == [1.0] * 10
    assert found[10:] == pytest.approx([0.1] * 10)


def test_exponential_drops_every_epoch() -> None:
    found = rates("exponential", decay_rate=0.5)
    assert found == pytest.approx([1.0] * 5 + [0.5] * 5 + [0.25] * 5 + [0.125] * 5)


@pytest.mark.parametrize("kind", ["cosine", "step", "exponential", "none"])
def test_warm_up_rises_from_above_zero_to_the_peak(kind: str) -> None:
    schedule = Schedule(kind, 1.0, 50, 4, warmup_steps=5)
    assert [schedule.at(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert schedule.at(5) == pytest.approx(1.0)


def test_warm_up_takes_at_most_a_tenth_of_a_short_run() -> None:
    found = rates("none", warmup_steps=100)
    assert found[:2] == pytest.approx([0.5, 1.0])
    assert found[2:] == [1.0] * 18


@pytest.mark.parametrize("kind", ["cosine", "step", "exponential", "none"])
@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 1), (0, 3), (3, 1)])
def test_tiny_runs_have_positive_rates(kind: str, steps_per_epoch: int, epochs: int) -> None:
    schedule = Schedule(kind, 1.0, steps_per_epoch, epochs, warmup_steps=100)
    assert all(schedule.at(step) > 0 for step in range(max(1, steps_per_epoch * epochs)))


def test_a_longer_run_is_another_curve_through_the_same_steps() -> None:
    short, long = Schedule("cosine", 1.0, 5, 4), Schedule("cosine", 1.0, 5, 8)
    assert long.at(0) == short.at(0)
    assert long.at(19) > short.at(19)
    assert long.at(20) == pytest.approx(0.5), "the end of the short run is the long one's middle"

"""Half precision: the loss scale, what it skips, and how it goes with clipping and resuming."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import Tensor

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import parse
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.training.optim import MAX_BAD_STEPS, Precision
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.state import Means
from tiny_run import TinyTrainer as Trainer
from tiny_run import make_trainer, write_photos
from trainer_runs import LIVELY_SCALE, TYPES, batches_of, spoil, through_a_file, train

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return write_photos(tmp_path_factory.mktemp("photos"))


def half(photos: list[Photo], scale: float = 1024.0, **changes: object) -> Trainer:
    """A trainer in float16 with a loss scale of one's choice."""
    trainer = make_trainer(photos, amount=Augmentation(), **TYPES["float16"], **changes)
    trainer.precision.restore({**LIVELY_SCALE, "scale": scale})
    return trainer


def step(trainer: Trainer, *groups: tuple[int, ...]) -> dict[str, float]:
    trainer.model.train()
    return trainer.train_step(batches_of(trainer, *groups), Means(), trainer.progress)


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    assert trainer.average is not None
    mean = {f"mean {name}": value for name, value in trainer.average.weights.items()}
    return copy.deepcopy({**trainer.model.state_dict(), **mean})


@pytest.mark.parametrize(("typed", "wanted"), [
    ("", "float32"), ("--amp", "bfloat16"), ("--amp --amp_dtype bfloat16", "bfloat16"),
    ("--amp --amp_dtype float16", "float16"),
])  # fmt: skip
def test_the_flags_name_the_type(typed: str, wanted: str) -> None:
    assert parse(TrainOptions, "", typed.split()).optim.precision == wanted


@pytest.mark.parametrize(("name", "dtype"), [
    ("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16),
])  # fmt: skip
def test_products_are_computed_in_that_type(name: str, dtype: torch.dtype) -> None:
    with Precision(name, CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_only_float16_has_a_loss_scale(name: str) -> None:
    precision = Precision(name, CPU)
    assert (precision.state(), precision.scalars()) == ({}, {})
    precision.restore(LIVELY_SCALE)  # of a checkpoint that was trained in float16
    assert precision.state() == {}


def test_an_overflow_leaves_the_step_out_and_halves_the_scale(
    photos: list[Photo], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = half(photos, 2.0**40, ema=0.9)
    before = weights_of(trainer)
    with caplog.at_level(logging.INFO):
        scalars = step(trainer, (0, 1))
    assert scalars["loss"] > 0 and "gradient_norm" not in scalars
    assert scalars["loss_scale"] == 2.0**39
    assert "step 0 left out: its float16 gradients overflow" in caplog.text
    assert "not finite" not in caplog.text
    assert (trainer.bad_steps.in_a_row, trainer.progress.step) == (0, 1)
    for name, value in weights_of(trainer).items():
        assert torch.equal(value, before[name]), f"{name} changed"


def test_a_scale_that_is_too_large_finds_its_way_down(photos: list[Photo]) -> None:
    trainer = half(photos, 2.0**36, epochs=12)
    trainer.precision.scaler.set_growth_interval(1000)
    steps = train(trainer)
    made = [scalars for scalars in steps if "gradient_norm" in scalars]
    assert len(made) > 10 and made[-1]["loss"] < steps[0]["loss"]
    assert len(steps) - len(made) > MAX_BAD_STEPS, "overflows are not counted as bad steps"


def test_a_loss_that_is_not_finite_says_nothing_about_the_scale(photos: list[Photo]) -> None:
    trainer = half(photos, 1024.0)
    spoil(trainer, {2})
    assert set(step(trainer, (1, 2))) == {"lr"}
    assert trainer.bad_steps.in_a_row == 1
    assert trainer.precision.scalars() == {"loss_scale": 1024.0}
    assert step(trainer, (0, 1))["gradient_norm"] > 0
    assert trainer.bad_steps.in_a_row == 0


def test_a_gradient_that_no_scale_can_hold_ends_the_run(photos: list[Photo]) -> None:
    trainer = half(photos, 4.0, epochs=20)
    weight = next(iter(trainer.model.parameters()))
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(InputError, match="use --amp_dtype bfloat16 instead of float16"):
        train(trainer)
    assert trainer.progress.step == MAX_BAD_STEPS + 1, "at scales of 4 and 2 it may be the scale"


def test_the_norm_is_that_of_the_unscaled_gradient(photos: list[Photo]) -> None:
    whole = make_trainer(photos, amount=Augmentation(), gradient_clip=0.01)
    wanted = step(whole, (0, 1))["gradient_norm"]
    for scale in (1.0, 1024.0):
        trainer = half(photos, scale, gradient_clip=0.01)
        assert step(trainer, (0, 1))["gradient_norm"] == pytest.approx(wanted, rel=0.05)
        own = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
        assert torch.stack(own).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_accumulated_half_gradients_equal_those_of_the_large_batch(photos: list[Photo]) -> None:
    large, small = (half(photos, 64.0, head="spec", gradient_accumulation=n) for n in (1, 2))
    one, other = step(large, (0, 1)), step(small, (0,), (1,))
    assert one == pytest.approx(other, rel=0.01)


def test_a_checkpoint_without_a_scale_is_gone_on_from_and_told(
    photos: list[Photo], caplog: pytest.LogCaptureFixture
) -> None:
    old = make_trainer(photos, epochs=1)
    train(old)
    state = through_a_file(old.state())
    for saved in (state, {name: value for name, value in state.items() if name != "scaler"}):
        trainer = half(photos, 8.0, epochs=2)
        caplog.clear()
        trainer.restore(saved)
        assert "the checkpoint lacks a loss scale" in caplog.text
        assert trainer.precision.scalars() == {"loss_scale": 8.0}
        assert len(train(trainer)) == 3


def test_a_checkpoint_in_float16_goes_on_in_float32(photos: list[Photo]) -> None:
    first = half(photos, epochs=1)
    train(first)
    second = make_trainer(photos, epochs=2)
    second.restore(through_a_file(first.state()))
    assert all("gradient_norm" in scalars for scalars in train(second))

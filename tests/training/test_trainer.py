"""The training loop: exact resume, accumulation, averaging, bad losses."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.modeling.lite_head import LiteHead
from human_edge_detection.training.distributed import StopRequest
from human_edge_detection.training.optim import MAX_BAD_STEPS, make_optimizer
from human_edge_detection.training.state import Means
from tiny_run import OPTIONS, make_trainer, write_photos
from tiny_run import TinyTrainer as Trainer
from trainer_runs import (
    LIVELY_SCALE,
    TYPES,
    assert_same_state,
    batches_of,
    spoil,
    through_a_file,
    train,
)

torch.set_num_threads(1)

EVERYTHING = {"ema": 0.9, "gradient_accumulation": 2, "batch_size": 1, "gradient_clip": 0.5}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_two_runs_with_one_seed_are_equal(photos: list[Photo], optimizer: str) -> None:
    trainers = [make_trainer(photos, optimizer=optimizer, epochs=2) for _ in range(2)]
    logs = [train(trainer) for trainer in trainers]
    assert_same_state(*trainers)
    assert [log["loss"] for log in logs[0]] == [log["loss"] for log in logs[1]]


def everything(photos: list[Photo], precision: str, seed: int = 0) -> Trainer:
    """A trainer of 9 steps, 3 an epoch, with all that could break a resume switched on."""
    trainer = make_trainer(photos, seed=seed, **EVERYTHING, **TYPES[precision])
    trainer.precision.restore(LIVELY_SCALE)
    return trainer


@pytest.fixture(scope="module", params=["float32", "float16"])
def straight(photos: list[Photo], request: pytest.FixtureRequest) -> Trainer:
    """A run of :func:`everything` without a stop."""
    trainer = everything(photos, request.param)
    steps = train(trainer)
    assert len(steps) == 9
    if request.param == "float16":
        skipped = [scalars for scalars in steps if "gradient_norm" not in scalars]
        scales = {scalars["loss_scale"] for scalars in steps}
        assert skipped and max(scales) > 65536 > min(scales), "the scale rose and fell"
    return trainer


@pytest.mark.parametrize("cut", [3, 5])  # at the end of an epoch and within one
def test_a_resumed_run_ends_bit_for_bit_where_the_straight_one_did(
    photos: list[Photo], straight: Trainer, cut: int
) -> None:
    first = everything(photos, straight.optim.precision)
    train(first, cut)
    assert first.progress.step == cut
    second = make_trainer(photos, seed=99, **EVERYTHING, **TYPES[straight.optim.precision])
    second.restore(through_a_file(first.state()))
    train(second)
    assert_same_state(second, straight)


def test_a_run_interrupted_after_each_of_its_steps_still_ends_there(
    photos: list[Photo], straight: Trainer
) -> None:
    trainer = everything(photos, straight.optim.precision)
    while trainer.progress.epoch < OPTIONS.loop.epochs:
        train(trainer, 1)
        state = through_a_file(trainer.state())
        trainer = everything(photos, straight.optim.precision, seed=trainer.progress.step)
        trainer.restore(state)
    assert_same_state(trainer, straight)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_other_optimizers_resume_too(photos: list[Photo], optimizer: str) -> None:
    whole = make_trainer(photos, optimizer=optimizer)
    train(whole)
    first = make_trainer(photos, optimizer=optimizer)
    train(first, 4)
    second = make_trainer(photos, optimizer=optimizer, seed=99)
    second.restore(through_a_file(first.state()))
    train(second)
    assert_same_state(second, whole)


def test_loader_workers_change_nothing(photos: list[Photo]) -> None:
    trainers = [make_trainer(photos, num_workers=workers, epochs=1) for workers in (0, 2)]
    for trainer in trainers:
        train(trainer)
    assert_same_state(*trainers)


def test_a_stop_is_answered_after_the_step_at_hand(photos: list[Photo]) -> None:
    trainer = make_trainer(photos)
    stop = StopRequest()

    def on_step(_scalars: dict[str, float], step: int) -> None:
        stop.signal = 15 if step == 2 else None  # type: ignore[assignment]

    trainer.train_epoch(trainer.progress, stop, on_step)
    assert (trainer.progress.step, trainer.progress.batches, trainer.progress.epoch) == (2, 2, 0)


def test_a_stop_after_the_last_step_leaves_an_empty_rest_of_the_epoch(photos: list[Photo]) -> None:
    trainer = make_trainer(photos)
    train(trainer, 3)
    assert (trainer.progress.batches, trainer.progress.epoch) == (3, 0)
    means = trainer.train_epoch(trainer.progress, StopRequest(), lambda *_: None)
    assert (trainer.progress.batches, trainer.progress.epoch) == (0, 1)
    assert (trainer.progress.step, means.rois) == (3, 0)


@pytest.mark.parametrize("groups", [((0, 1, 2, 3),), ((0, 1), (2, 3)), ((0,), (1, 2, 3))])
def test_accumulated_gradients_equal_those_of_the_large_batch(
    photos: list[Photo], groups: tuple[tuple[int, ...], ...]
) -> None:
    # The spec head has layer norms only, so no statistics join the photos of a batch.
    large = make_trainer(photos, head="spec", optimizer="sgd", lr=0.1, warmup_steps=0)
    small = make_trainer(photos, head="spec", optimizer="sgd", lr=0.1, warmup_steps=0)
    before = copy.deepcopy(large.model.state_dict())
    one = large.train_step(batches_of(large, (0, 1, 2, 3)), Means(), large.progress)
    other = small.train_step(batches_of(small, *groups), Means(), small.progress)
    assert one == pytest.approx(other, rel=1e-4)
    for name, value in large.model.state_dict().items():
        change = (value - before[name]).abs().max()
        assert change > 0, name
        error = (small.model.state_dict()[name] - value).abs().max()
        assert error <= 5e-3 * change + 1e-7, name


def test_a_group_of_batches_is_one_step(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, batch_size=1, gradient_accumulation=3, epochs=1)
    assert len(train(trainer)) == 2, "five batches make a group of three and one of two"
    assert trainer.schedule.steps_per_epoch == 2


def test_batches_without_people_are_passed_over(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, min_roi_size=500.0, epochs=1)
    before = copy.deepcopy(trainer.model.state_dict())
    log = train(trainer)
    assert [set(scalars) for scalars in log] == [{"lr", "images_per_s"}] * 3
    assert trainer.progress.step == 3
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_unreadable_photos_do_not_stop_the_run(
    photos: list[Photo], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = replace(photos[1], image_dir=tmp_path)
    trainer = make_trainer([photos[0], gone], batch_size=1, epochs=1)
    with caplog.at_level(logging.WARNING):
        train(trainer)
    assert trainer.progress.step == 2
    assert "photo_1.png" in caplog.text


def test_the_loss_falls(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, amount=Augmentation(), epochs=16, batch_size=5)
    log = train(trainer)
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]


def test_the_rate_of_the_schedule_reaches_the_optimizer(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, scheduler="exponential", lr_decay_rate=0.5, warmup_steps=0)
    log = train(trainer)
    assert [scalars["lr"] for scalars in log] == pytest.approx(
        [0.01] * 3 + [0.005] * 3 + [0.0025] * 3
    )
    assert all(group["lr"] == pytest.approx(0.0025) for group in trainer.optimizer.param_groups)


def test_a_longer_run_rebuilds_its_schedule_on_resume(photos: list[Photo]) -> None:
    short = make_trainer(photos, epochs=1)
    train(short)
    long = make_trainer(photos, epochs=4)
    long.restore(through_a_file(short.state()))
    log = train(long)
    assert len(log) == 9
    assert log[0]["lr"] == long.schedule.at(3) > short.schedule.at(2)


def test_the_schedule_goes_on_by_epochs_where_there_are_more_photos(
    photos: list[Photo],
) -> None:
    first = make_trainer(photos[:2], epochs=1)
    assert len(train(first)) == 1
    second = make_trainer(photos, epochs=2)
    second.restore(through_a_file(first.state()))
    rates = [scalars["lr"] for scalars in train(second)]
    assert rates == [second.schedule.at(step) for step in (3, 4, 5)]


def test_a_run_cut_in_an_epoch_goes_on_after_the_photos_it_saw_with_other_batches(
    photos: list[Photo],
) -> None:
    first = make_trainer(photos, batch_size=1)
    train(first, 3)
    second = make_trainer(photos, batch_size=2)
    second.restore(through_a_file(first.state()))
    assert second.progress.batches == 1, "of three photos the third is seen again"
    assert len(list(second.loader(second.progress))) == 2


def test_a_clipped_gradient_is_at_most_the_limit(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, gradient_clip=1e-3, epochs=1)
    (scalars, *_) = train(trainer)
    norm = torch.stack([p.grad.norm() for p in trainer.model.parameters() if p.grad is not None])
    assert norm.norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert scalars["gradient_norm"] > 1e-3, "what is logged is the norm before clipping"


def test_the_average_follows_the_weights(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, ema=0.9)
    train(trainer)
    assert trainer.average is not None and trainer.average.step == 9
    weight, mean = (
        w["head.trunk.classify.weight"]
        for w in (trainer.model.state_dict(), trainer.average.weights)
    )
    assert 0 < (weight - mean).abs().max() < 0.2


def test_an_average_switched_on_while_resuming_starts_at_the_weights(photos: list[Photo]) -> None:
    first = make_trainer(photos, epochs=1)
    train(first)
    second = make_trainer(photos, seed=99, ema=0.9)
    second.restore(through_a_file(first.state()))
    assert second.average is not None
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.average.weights[name], value), name


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_in_float32_weights(photos: list[Photo], precision: str) -> None:
    options = {**TYPES[precision], "epochs": 8, "batch_size": 5}
    trainer = make_trainer(photos, amount=Augmentation(), **options)
    log = train(trainer)
    assert log[-1]["loss"] < log[0]["loss"]
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_a_loss_that_is_not_finite_is_named_and_changes_nothing(
    photos: list[Photo], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(photos, ema=0.9)
    spoil(trainer, {2})
    trainer.model.train()
    before = copy.deepcopy(trainer.model.state_dict())
    means = Means()
    with caplog.at_level(logging.WARNING):
        scalars = trainer.train_step(batches_of(trainer, (1, 2)), means, trainer.progress)
    assert set(scalars) == {"lr"}
    assert "photo_1.png" in caplog.text and "photo_2.png" in caplog.text
    assert "'ce': nan" in caplog.text and "'dice': nan" in caplog.text
    assert (trainer.bad_steps.in_a_row, trainer.progress.step, means.rois) == (1, 1, 0)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} took the batch in"


def test_training_goes_on_after_a_bad_batch(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, ema=0.9, batch_size=1, epochs=4)
    spoil(trainer, {2})
    train(trainer)
    assert trainer.bad_steps.in_a_row <= 1, "a good step forgets the bad one before it"
    assert trainer.average is not None
    for weights in (trainer.model.state_dict(), trainer.average.weights):
        assert all(value.isfinite().all() for value in weights.values())


def test_too_many_bad_steps_in_a_row_end_the_run_with_advice(photos: list[Photo]) -> None:
    trainer = make_trainer(photos, epochs=20)
    spoil(trainer, set(range(5)))
    with pytest.raises(InputError, match=r"steps in a row were not finite: lower --lr 0\.01"):
        train(trainer)
    assert trainer.bad_steps.in_a_row == MAX_BAD_STEPS


def test_norms_biases_and_the_position_are_not_decayed(photos: list[Photo]) -> None:
    model = make_trainer(photos).model
    head = model["head"]
    assert isinstance(head, LiteHead)
    decayed, plain = make_optimizer(model, OPTIONS.optim, OPTIONS.peak_lr).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (OPTIONS.optim.weight_decay, 0.0)
    chosen = {id(p) for p in decayed["params"]}
    assert id(head.trunk.classify.weight) in chosen and id(head.trunk.fuse[0].weight) in chosen
    trunk = head.trunk
    for kept in (trunk.position, trunk.classify.bias, trunk.fuse[1].weight, trunk.fuse[1].bias):
        assert id(kept) not in chosen
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))

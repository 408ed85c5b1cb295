"""Whole runs: how long they last, what they keep, what they hand over."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from human_edge_detection.cli import main, train_main
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image
from human_edge_detection.core.options import parse
from human_edge_detection.modeling.weights import best_weights, load_checkpoint
from human_edge_detection.training.checkpoints import CheckpointFolder
from human_edge_detection.training.optim import Schedule
from human_edge_detection.training.options import TrainOptions
from tiny_command import outputs, write_inputs

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def finished(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of three epochs that keeps two checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    flags = ["--epochs", "3", "--keep", "2", "--ema", "0.9"]
    assert train_main([*inputs, *outputs(folder), *flags]) == 0
    return folder


def progress_of(folder: Path, name: str = "last.pth") -> dict[str, Any]:
    progress: dict[str, Any] = load_checkpoint(folder / "checkpoints" / name)["progress"]
    return progress


def test_a_run_keeps_the_newest_numbered_checkpoints(finished: Path) -> None:
    names = sorted(path.name[:21] for path in (finished / "checkpoints").glob("*.pth"))
    assert names == ["best_model.pth", "checkpoint_epoch_0002", "checkpoint_epoch_0003", "last.pth"]


def test_the_best_weights_are_also_a_safetensors_file(finished: Path) -> None:
    path = finished / "checkpoints" / "best_model.safetensors"
    wanted = best_weights(load_checkpoint(path.with_suffix(".pth")))
    found = load_file(path)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    assert facts["format"] == "human_edge_detection.weights.2"
    assert json.loads(facts["spec"])["layers"] == ["a"]


def test_a_run_ends_with_pictures_of_how_it_went(finished: Path) -> None:
    for name in ("curves", "confusion"):
        picture = read_image(finished / "pictures" / f"{name}.png")
        assert 100 < picture.mean() < 255


def test_every_validation_shows_the_same_photos_in_tensorboard(finished: Path) -> None:
    events = EventAccumulator(str(finished / "logs"), {"images": 0}).Reload()
    tags = events.Tags()["images"]
    panels = [f"panel/{n}_photo_{photo}" for n, photo in enumerate((0, 1, 3, 4), start=1)]
    at_the_end = [f"best_model/{name}" for name in ("curves", "confusion", "panel_0", "panel_3")]
    assert set(tags) >= {*panels, *at_the_end}
    for tag in panels:
        assert [event.step for event in events.Images(tag)] == [1, 2, 3]


def test_resume_epochs_counts_from_the_checkpoint_and_rebuilds_the_schedule(
    inputs: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_handover: None,
) -> None:
    rates: list[float] = []
    monkeypatch.setattr(
        "human_edge_detection.training.log.TrainLog.scalars",
        lambda _log, group, values, _step: rates.append(values["lr"]) if group == "train" else None,
    )
    last = str(finished / "checkpoints" / "last.pth")
    flags = ["--resume", last, "--resume_epochs", "2", "--epochs", "1", "--warmup_steps", "0"]
    assert train_main([*inputs, *outputs(tmp_path), *flags]) == 0
    assert (progress_of(tmp_path)["epoch"], progress_of(tmp_path)["step"]) == (5, 15)
    schedule = Schedule("cosine", 2e-3, steps_per_epoch=3, epochs=5, floor=1e-6)
    assert rates == pytest.approx([schedule.at(step) for step in range(9, 15)])


def test_a_finished_run_resumed_elsewhere_measures_and_hands_over_again(
    inputs: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = str(finished / "checkpoints" / "last.pth")
    assert train_main([*inputs, *outputs(tmp_path), "--resume", last, "--epochs", "3"]) == 0
    assert progress_of(tmp_path)["step"] == progress_of(finished)["step"]
    assert (tmp_path / "checkpoints" / "best_model.onnx").is_file()
    text = capsys.readouterr().out
    assert "the best is epoch 3" in text
    told = text.split("next: uv run human-edge-detection ")[1]
    boxes = Path(inputs[inputs.index("--val_ann") + 1])
    photo = boxes.with_name("photo_0.png")
    words = told.replace("PHOTO", str(photo)).replace("BOXES", str(boxes)).split()
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 2


def test_a_run_without_progress_stops_early(
    inputs: list[str], tmp_path: Path, no_handover: None
) -> None:
    flags = ["--epochs", "9", "--early_stop", "2", "--lr", "1e-30", "--min_lr", "0"]
    assert train_main([*inputs, *outputs(tmp_path), *flags, "--no_flip"]) == 0
    progress = progress_of(tmp_path)
    assert progress["waited"] == 2
    assert progress["epoch"] == progress["best_epoch"] + 2 < 9


def test_a_better_validation_starts_the_wait_anew(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_handover: None
) -> None:
    scores = iter([0.1, 0.05, 0.2, 0.1, 0.2, 0.9])
    monkeypatch.setattr(
        "human_edge_detection.evaluation.evaluate.Evaluation.summary",
        lambda _self: {"miou": next(scores)},
    )
    flags = ["--epochs", "9", "--early_stop", "2"]
    assert train_main([*inputs, *outputs(tmp_path), *flags]) == 0
    progress = progress_of(tmp_path)
    assert (progress["epoch"], progress["best_epoch"], progress["best_miou"]) == (5, 3, 0.2)


def test_pruning_spares_later_epochs_and_other_files(tmp_path: Path) -> None:
    names = ["checkpoint_epoch_0009_8x8_0100.pth", "checkpoint_epoch_old.pth", "mine.pth"]
    for name in names:
        (tmp_path / name).touch()
    folder = CheckpointFolder(tmp_path, keep=1)
    for epoch in (1, 2, 3):
        folder.save_numbered(epoch, (8, 8), 0.5, {"epoch": epoch})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [*names, "checkpoint_epoch_0003_8x8_0500.pth"]
    )


def test_a_full_disk_costs_no_kept_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save_numbered(1, (8, 8), 0.5, {"epoch": 1})

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("human_edge_detection.training.checkpoints.save_checkpoint", no_space)
    with caplog.at_level(logging.ERROR):
        folder.save_numbered(2, (8, 8), 0.5, {"epoch": 2})
    assert "was not written, training goes on: [Errno 28] No space left" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint_epoch_0001_8x8_0500.pth"]


def test_all_numbered_checkpoints_stay_by_default(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for epoch in (1, 2, 3):
        folder.save_numbered(epoch, (8, 8), 0.5, {"epoch": epoch})
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("flag", ["--keep", "--early_stop", "--resume_epochs"])
def test_counts_below_zero_are_refused(flag: str) -> None:
    with pytest.raises(InputError, match=f"{flag} must be at least 0"):
        parse(TrainOptions, "", [flag, "-1"])

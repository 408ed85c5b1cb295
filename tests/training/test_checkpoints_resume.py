"""What a resumed run says about flags, epochs and folders that do not fit it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from human_edge_detection.cli import train_main
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import changed
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.training.checkpoints import as_trained, at_its_rate, set_aside
from human_edge_detection.training.finish import closing_text
from human_edge_detection.training.options import OutputOptions, TrainOptions
from human_edge_detection.training.state import Progress
from tiny_command import outputs, write_inputs

torch.set_num_threads(1)
SPEC = ModelSpec("lite", ("a",), (8,), (8.0,), image_size=(320, 320), roi_padding=0.2)
PATH = Path("last.pth")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


def run(inputs: list[str], folder: Path, *flags: str) -> int:
    return train_main([*inputs, *outputs(folder), *flags])


def test_a_checkpoint_brings_its_model_and_the_log_names_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        options = as_trained(TrainOptions(), SPEC, PATH)
    assert options.model.image_size == (320, 320) and options.model.roi_padding == 0.2
    assert "from last.pth: --roi_padding 0.2 --image_size 320 320" in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"head": "spec"}, "--head spec contradicts checkpoint last.pth, which has --head lite"),
        ({"roi_padding": 0.3}, "--roi_padding 0.3 contradicts .* has --roi_padding 0.2: leave it"),
        ({"small_branch": True}, "--small_branch contradicts .* has no --small_branch"),
        ({"head_widths": (8, 8, 4)}, "--head_widths 8 8 4 contradicts .* --head_widths 64 96 16"),
    ],
)
def test_flags_that_contradict_the_checkpoint_are_named(flags: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_trained(changed(TrainOptions(), **flags), SPEC, PATH)


def test_flags_that_repeat_the_checkpoint_are_fine() -> None:
    options = changed(TrainOptions(), roi_padding=0.2, head_widths=(64, 96, 16))
    assert as_trained(options, SPEC, PATH).model.head_widths == ()
    wide = replace(SPEC, widths=(8, 8, 4))
    options = changed(TrainOptions(), head_widths=(8, 8, 4))
    assert as_trained(options, wide, PATH).model.head_widths == (8, 8, 4)


def test_runs_that_are_resumed_or_meet_another_one(
    inputs: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    assert run(inputs, tmp_path, "--epochs", "1") == 0
    assert "trained 1 epochs; the best is epoch 1" in capsys.readouterr().out
    before = (tmp_path / "checkpoints" / "last.pth").read_bytes()
    assert "class weights" in caplog.text and "measured on 5 photos" in caplog.text
    assert "epoch 1/1, batch 3/3: loss" in caplog.text and "img/s" in caplog.text

    assert run(inputs, tmp_path, "--epochs", "1", "--resume", "auto") == 0
    out = capsys.readouterr().out
    assert "nothing left to train, 1 epochs are done (--resume_epochs N" in out
    assert "trained" not in out.splitlines()[-5]
    assert "nothing left to train, use --resume_epochs: 1 epochs are done" in caplog.text

    assert run(inputs, tmp_path, "--resume", "auto", "--roi_padding", "0.4") == 2
    assert "--roi_padding 0.4 contradicts checkpoint" in capsys.readouterr().err

    assert run(inputs, tmp_path, "--epochs", "1", "--seed", "3") == 0  # another run
    moved = tmp_path / "checkpoints" / "earlier_1"
    assert {path.name for path in moved.iterdir()} >= {
        "best_model.pth", "best_model.onnx", "best_model.safetensors", "last.pth", "metrics.csv"
    }  # fmt: skip
    assert len(list(moved.glob("checkpoint_epoch_0001*.pth"))) == 1
    assert len(list((tmp_path / "checkpoints").glob("checkpoint_epoch_0001*.pth"))) == 1
    assert (moved / "last.pth").read_bytes() == before
    assert f"--resume {moved / 'last.pth'} goes on with that one" in caplog.text


def test_the_last_words_warn_of_a_useless_model(inputs: list[str]) -> None:
    extractor = Path(inputs[inputs.index("--onnx_model") + 1])
    for score, is_useless in ((0.0, True), (0.5, False)):
        progress = Progress(epoch=3, best_epoch=2, best_score=score)
        text = closing_text(progress, 1, "miou", {}, Path("best_model.onnx"), extractor)
        assert f"trained 2 epochs after 1 before; the best is epoch 2: miou {score:.4f}" in text
        assert text.startswith("warning: the best model is of no use") == is_useless


def test_only_the_checkpoints_of_another_run_are_moved(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    output = OutputOptions(checkpoint_dir=folder, log_dir=tmp_path / "logs")
    assert set_aside(output, None) is None
    folder.mkdir()
    for name in ("last.pth", "best_model.pth", "mine.pth"):
        (folder / name).touch()
    assert set_aside(output, folder / "last.pth") is None
    assert set_aside(output, tmp_path / "other" / "last.pth") == folder / "earlier_1"
    assert [path.name for path in folder.glob("*.pth")] == ["mine.pth"]
    (folder / "last.pth").touch()
    assert set_aside(output, None) == folder / "earlier_2"


def test_a_resumed_run_keeps_its_learning_rate_if_none_is_asked_for() -> None:
    payload, options = {"options": {"lr": "0.0003"}}, TrainOptions()
    assert at_its_rate(options, payload, PATH).peak_lr == 3e-4
    asked = changed(options, lr=0.1)
    assert at_its_rate(asked, payload, PATH).peak_lr == 0.1
    for older in ({}, {"options": {}}, {"options": {"lr": "None"}}):
        assert at_its_rate(options, older, PATH) == options
    for rate in ("nan", "-1", "many", [1]):
        with pytest.raises(InputError, match=r"last\.pth has the learning rate .* give --lr"):
            at_its_rate(options, {"options": {"lr": rate}}, PATH)

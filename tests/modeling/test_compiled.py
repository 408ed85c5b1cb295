"""``--compile``: the same training, a plain model to keep, and a clear word without a compiler."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from human_edge_detection.cli import train_main
from human_edge_detection.data.annotations import Photo
from human_edge_detection.modeling.compiled import check_compiler, compiled_parts
from human_edge_detection.modeling.weights import load_checkpoint
from tiny_command import ENVIRONMENT, MAIN, outputs, write_inputs
from tiny_person import new_person_model
from tiny_run import make_trainer, write_photos
from trainer_runs import assert_same_state, through_a_file, train

torch.set_num_threads(1)
OPTIONS = {"ema": 0.9, "gradient_accumulation": 2, "batch_size": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile without the last step, the C++ code, which takes a minute."""
    backend = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr("torch.compile", backend)


@pytest.mark.parametrize("head", ["lite"])
def test_a_compiled_run_makes_the_steps_of_a_plain_one(
    traced: None, photos: list[Photo], head: str
) -> None:
    plain, compiled = (make_trainer(photos, head=head, compile=c, **OPTIONS) for c in (False, True))
    assert (
        plain.parts["head"] is plain.model["head"]
        and compiled.parts["head"] is not compiled.model["head"]
    )
    assert_same_state(plain, compiled)
    logs = [train(trainer) for trainer in (plain, compiled)]
    assert [s["loss"] for s in logs[0]] == pytest.approx([s["loss"] for s in logs[1]], rel=1e-5)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("order", [(True, False)])
def test_a_run_is_resumed_with_or_without(
    traced: None, photos: list[Photo], order: tuple[bool, bool]
) -> None:
    straight = make_trainer(photos, **OPTIONS)
    train(straight)
    first = make_trainer(photos, compile=order[0], **OPTIONS)
    train(first, 4)
    second = make_trainer(photos, compile=order[1], seed=99, **OPTIONS)
    second.restore(through_a_file(first.state()))
    train(second)
    assert second.average is not None and straight.average is not None
    for name, value in straight.average.weights.items():
        torch.testing.assert_close(second.average.weights[name], value, rtol=1e-3, atol=1e-5)


def test_an_extractor_that_is_trained_along_is_compiled_too(traced: None) -> None:
    extractor = new_person_model()["extractor"].train()
    for number, block in enumerate(extractor.backbone.blocks):
        if block.adds and number > 2:  # what is repeated takes as long again
            extractor.backbone.blocks[number] = torch.nn.Identity()
    parts = compiled_parts(torch.nn.ModuleDict({"extractor": extractor}), torch.device("cpu"))
    for count in (2, 3):
        images = torch.rand(count, 3, 64, 96)
        maps, candidates = parts["extractor"](images)
        wanted, people = extractor(images)
        torch.testing.assert_close(maps, wanted)
        torch.testing.assert_close(candidates.boxes, people.boxes)


def test_what_a_run_leaves_behind_is_of_the_plain_model(traced: None, tmp_path: Path) -> None:
    flags = [*write_inputs(tmp_path, 4), *outputs(tmp_path), "--epochs", "1", "--ema", "0.9"]
    assert train_main([*flags, "--compile"]) == 0
    payload = load_checkpoint(tmp_path / "checkpoints" / "best_model.pth")
    for weights in (payload["weights"], payload["ema"]):
        assert all(name.startswith("head.") and "_orig_mod" not in name for name in weights)
    assert (tmp_path / "checkpoints" / "best_model.onnx").is_file()


@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++", "cl"))), reason="no C++ compiler"
)
def test_torch_compile_works_with_a_compiler() -> None:
    check_compiler(torch.device("cpu"))


def test_a_missing_compiler_is_told_before_training(tmp_path: Path) -> None:
    flags = [*write_inputs(tmp_path), *outputs(tmp_path), "--epochs", "1", "--compile"]
    bare = {**ENVIRONMENT, "PATH": "", "CXX": "no-such-compiler"}
    done = subprocess.run(
        [sys.executable, str(MAIN), *flags], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "--compile: torch.compile does not work here" in done.stderr
    assert "install a C++ compiler" in done.stderr and "leave out --compile" in done.stderr
    assert not (tmp_path / "checkpoints" / "last.pth").exists()

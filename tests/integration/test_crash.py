"""Processes that are really killed, and runs that go on from what they left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from human_edge_detection.cli import train_main
from human_edge_detection.core.files import remove_partials
from human_edge_detection.modeling.weights import load_checkpoint
from human_edge_detection.training.checkpoints import CheckpointFolder
from tiny_command import ENVIRONMENT, outputs, same, start, write_inputs

torch.set_num_threads(1)
pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are killed as POSIX does it")

KILLS = 20
KILLER = f"""
import os, random, signal, sys, time
from pathlib import Path
import torch
from human_edge_detection.modeling.weights import load_checkpoint
from human_edge_detection.training.checkpoints import CheckpointFolder
from human_edge_detection.training.checkpoints import save_checkpoint

torch.set_num_threads(1)
path = Path(sys.argv[1])

def save_forever(number, told):
    while True:
        number += 1
        save_checkpoint(path, {{"number": number, "weights": torch.full((300_000,), number)}})
        os.write(told, b".")

number, rng, unfinished = 0, random.Random(0), 0
for _ in range({KILLS}):
    heard, told = os.pipe()
    if not (child := os.fork()):
        save_forever(number, told)
    os.read(heard, 1)  # it has begun
    time.sleep(rng.uniform(0, 0.03))
    os.kill(child, 9)
    os.waitpid(child, 0)
    payload = load_checkpoint(path)
    assert payload["number"] > number, "the last save that was whole is the one that is loaded"
    number = payload["number"]
    assert payload["weights"].eq(number).all()
print("saves", number, "unfinished", len(list(path.parent.glob(".*.part.pth"))))
"""


def test_a_save_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    command = [sys.executable, "-c", KILLER, str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    saves, unfinished = map(int, re.findall(r"\d+", done.stdout))
    assert saves >= KILLS
    assert unfinished > 0, "some of the kills came in the middle of a save"
    assert len(list(tmp_path.iterdir())) == 1 + unfinished
    remove_partials(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def wait_for_save(process: subprocess.Popen[str], last: Path, after: float) -> None:
    """Wait until a run has written its last checkpoint later than at a time of the clock."""
    while not last.exists() or last.stat().st_mtime <= after:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.thorough
def test_a_run_killed_and_then_stopped_ends_where_the_straight_one_did(
    tmp_path: Path, no_handover: None
) -> None:
    inputs = [*write_inputs(tmp_path, 3), "--batch_size", "1", "--ema", "0.9"]
    flags = [*inputs, "--scheduler", "none", "--warmup_steps", "0"]
    checkpoints = CheckpointFolder(tmp_path / "broken" / "checkpoints")
    broken = [*flags, *outputs(tmp_path / "broken"), "--resume", "auto"]

    process = start([*broken, "--epochs", "500"], tmp_path)
    wait_for_save(process, checkpoints.last, 0.0)
    process.kill()
    process.communicate()
    killed = load_checkpoint(checkpoints.last)["progress"]

    before = checkpoints.last.stat().st_mtime
    process = start([*broken, "--epochs", "500"], tmp_path)
    wait_for_save(process, checkpoints.last, before)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"--resume {checkpoints.last} --epochs 500" in said
    stopped = load_checkpoint(checkpoints.last)["progress"]
    # Killed before a validation, the next run begins with it and may be stopped before a step.
    assert 500 > stopped["epoch"] >= killed["epoch"] and stopped["step"] >= killed["step"]

    end = ["--epochs", str(stopped["epoch"] + 1)]
    assert train_main([*broken, *end]) == 0
    assert train_main([*flags, *outputs(tmp_path / "straight"), *end]) == 0
    ended = load_checkpoint(checkpoints.last)
    wanted = load_checkpoint(tmp_path / "straight" / "checkpoints" / "last.pth")
    for name in ("weights", "ema", "ema_step", "optimizer", "progress"):
        assert same(ended[name], wanted[name]), name


LIES: dict[str, Any] = {
    "progress": [None, 5, {}, {"epoch": 1}, "all numbers text"], "optimizer": [None, {}, []],
    "weights": [None, {}, {"head.x": 5}], "ema": [5, {}, {"head.x": 5}], "torch_rng": [None, "x"],
    "spec": [None, {}], "ema_step": [None],
}  # fmt: skip


def test_a_checkpoint_that_lies_is_refused_in_one_line(
    tmp_path: Path, no_handover: None, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*write_inputs(tmp_path, 2), "--ema", "0.9", *outputs(tmp_path / "run")]
    assert train_main([*flags, "--epochs", "1"]) == 0
    last = tmp_path / "run" / "checkpoints" / "last.pth"
    sound = load_checkpoint(last)
    for key, value in [(key, value) for key, values in LIES.items() for value in values]:
        if value == "all numbers text":
            value = dict.fromkeys(sound["progress"], "1")
        torch.save({**sound, key: value}, last)
        capsys.readouterr()
        more = ["--resume_epochs", "1"] if key == "progress" else ["--epochs", "2"]
        assert train_main([*flags, *more, "--resume", str(last)]) == 2, (key, value)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ") and "last.pth" in error and len(error) < 600, error

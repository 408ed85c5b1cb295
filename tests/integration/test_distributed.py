"""Two processes do what one does: each photo once, the same step, the same numbers."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from distributed_worker import train_epoch
from human_edge_detection.cli import train_main
from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.weights import load_checkpoint
from human_edge_detection.training.distributed import ALONE, take_own_gpu
from human_edge_detection.training.inputs import EpochBatches
from tiny_command import ENVIRONMENT, MAIN, outputs, same, write_inputs
from tiny_run import write_photos

torch.set_num_threads(1)
HELPERS = Path(__file__).resolve().parents[1] / "helpers"
WORKER, RESTARTED = HELPERS / "distributed_worker.py", HELPERS / "restarted_worker.py"
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port")


def free_port() -> str:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return str(any_port.getsockname()[1])


def torchrun(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *TORCHRUN, free_port(), *arguments]
    environment = {**ENVIRONMENT, **variables}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes ended with, one of which fell over after that."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(str(WORKER), str(folder), folder=folder)
    assert done.returncode != 0
    assert "the second process fell over" in done.stderr, "the error of one process ends all"
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize(("count", "skip"), [(11, 0), (11, 1), (12, 0), (9, 2), (1, 0)])
def test_each_photo_is_seen_once_by_one_process(count: int, skip: int) -> None:
    alone = list(EpochBatches(count, 4, 5, 0, skip))
    shares = [list(EpochBatches(count, 2, 5, 0, skip, rank, 2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == len(alone)
    for whole, *parts in zip(alone, *shares, strict=True):
        assert sorted(whole) == sorted(key for part in parts for key in part)
        assert all(len(part) <= 2 for part in parts)


def test_two_processes_make_the_steps_of_one_with_the_large_batch(
    ended: list[dict[str, Any]], tmp_path: Path
) -> None:
    # The spec head has layer norms only, so no statistics join the photos of a batch.
    photos = write_photos(tmp_path)
    alone = train_epoch(photos, "spec", 2, ALONE)
    torch.manual_seed(0)
    assert ended[0]["spec progress"]["step"] == alone.progress.step == 3
    assert ended[0]["spec means"] == pytest.approx(alone.epoch_means, rel=1e-4)  # type: ignore[attr-defined]
    for name, wanted in alone.model.state_dict().items():
        torch.testing.assert_close(ended[0]["spec"][name], wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("head", ["spec", "lite"])
def test_all_processes_hold_the_same_weights_and_statistics(
    ended: list[dict[str, Any]], head: str
) -> None:
    one, other = (found[head] for found in ended)
    for name, value in one.items():
        if "num_batches" not in name:  # the fifth photo is seen by one process alone
            assert torch.equal(value, other[name]), name
    assert ended[0][f"{head} means"] == ended[1][f"{head} means"]


def test_an_overflow_in_one_process_is_a_step_left_out_by_all(ended: list[dict[str, Any]]) -> None:
    one, other = ended
    assert one["half scales"] == other["half scales"] == [32768.0] * 3
    for name in ("half", "half mean"):
        for key, value in one[name].items():
            assert value.isfinite().all(), key
            if "num_batches" not in key:  # the fifth photo is seen by one process alone
                assert torch.equal(value, other[name][key]), key


def test_everybody_hears_everybody(ended: list[dict[str, Any]]) -> None:
    for found in ended:
        assert found["order"] == [0, "x", 1, "x"]
        assert found["any"] == [True, False]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.thorough
def test_a_run_under_torchrun_writes_once_and_scores_as_one_process_does(
    tmp_path: Path, no_handover: None
) -> None:
    inputs = write_inputs(tmp_path)
    two = tmp_path / "two"
    flags = [*inputs, *outputs(two), "--epochs", "1"]
    done = torchrun(str(MAIN), *flags, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 photos a step: --batch_size 2, 2 processes, 1 batches accumulated" in done.stderr
    assert done.stdout.count("next: uv run") == 1
    names = [(row["group"], row["name"]) for row in rows(two)]
    assert len(names) == len(set(names)), "every number is written once"

    one = tmp_path / "one"
    last = str(two / "checkpoints" / "last.pth")  # not validated there, as the best is elsewhere
    again = [*inputs, *outputs(one), "--epochs", "1", "--resume", last]
    assert train_main(again) == 0
    found = [row for row in rows(two) if row["group"] == "val"]
    assert found == rows(one), "the same weights score the same in one process and in two"
    assert load_checkpoint(one / "checkpoints" / "last.pth")["progress"]["step"] == 2


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="a process is killed as POSIX does it")
def test_a_worker_that_is_killed_is_started_again_and_the_run_ends_bit_equal(
    tmp_path: Path,
) -> None:
    """What a launcher does when a machine is lost: the same command once more, for all."""
    inputs = [*write_inputs(tmp_path), "--batch_size", "1", "--ema", "0.9", "--epochs", "3"]
    ended = {}
    for name, variables in (("straight", {}), ("killed", {"KILL_EPOCH": "1"})):
        flags = [*inputs, *outputs(tmp_path / name), "--resume", "auto"]
        done = torchrun("--max-restarts", "1", str(RESTARTED), *flags, folder=tmp_path, **variables)
        assert done.returncode == 0, done.stderr[-3000:]
        assert (tmp_path / "killed").exists() == bool(variables)
        ended[name] = load_checkpoint(tmp_path / name / "checkpoints" / "last.pth")
    for name in ("weights", "ema", "ema_step", "optimizer", "progress"):
        assert same(ended["killed"][name], ended["straight"][name]), name


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    for visible, wanted in (("", "1"), ("4,6", "6")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        take_own_gpu("auto")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == wanted
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match="started 3 processes .* has 2 GPUs: use --nproc_per_node"):
        take_own_gpu("auto")
    take_own_gpu("cpu")


def test_without_torchrun_one_process_is_alone() -> None:
    values = torch.tensor([1.0, 2.0])
    assert ALONE.sum(values) is values
    assert ALONE.gather("ab") == ["a", "b"]
    assert (ALONE.any(True), ALONE.any(False), ALONE.is_first) == (True, False, True)

"""What a run shows, in a narrow terminal and in a log."""

from __future__ import annotations

import logging

import pytest
import torch
from tqdm import tqdm

from human_edge_detection.training import state
from human_edge_detection.training.state import (
    BAR_FORMAT,
    EpochDisplay,
    Means,
    Pace,
    duration,
    with_progress,
)


def means() -> Means:
    made = Means(photos=40)
    made.add({name: torch.tensor(0.5) for name in ("total", "ce", "dice")}, 4)
    return made


def test_a_narrow_terminal_keeps_loss_rate_and_speed() -> None:
    text = "loss 0.5000 lr 1.9e-03 12.3 img/s epoch 3/10"
    bar = tqdm.format_meter(57, 125, 60.0, ncols=40, prefix=text, bar_format=BAR_FORMAT)
    assert bar.startswith("loss 0.5000 lr 1.9e-03 12.3 img/s") and len(bar) <= 40
    bar = tqdm.format_meter(57, 125, 60.0, ncols=90, prefix=text, bar_format=BAR_FORMAT)
    assert "epoch 3/10 57/125 " in bar and "01:00<01:11" in bar


def test_a_log_gets_a_line_in_time_and_at_the_end_of_an_epoch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(state.time, "perf_counter", lambda: now[0])
    pace = Pace(epochs=2)
    with caplog.at_level(logging.INFO), EpochDisplay(pace, 0, 100, 0, True) as view:
        for _ in range(100):
            now[0] += 1.0
            view.update(1, means(), 2e-3)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    assert lines[0] == (
        "epoch 1/2, batch 30/100: loss 0.5000, ce 0.5000, dice 0.5000, lr 2.0e-03, 1.3 img/s, "
        "3 min left"
    )
    assert lines[-1].startswith("epoch 1/2, batch 100/100") and lines[-1].endswith("2 min left")


def test_other_processes_and_short_work_show_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    with EpochDisplay(Pace(1), 0, 1, 0, False) as view:
        view.update(1, means(), 1e-3)
    assert list(with_progress([1, 2, 3], 3, "work", "photos")) == [1, 2, 3]
    assert not caplog.records
    now = [0.0]
    monkeypatch.setattr(state.time, "perf_counter", lambda: now[0])
    for _ in with_progress(range(4), 4, "work", "photos"):
        now[0] += 20.0
    assert [record.getMessage() for record in caplog.records] == ["work: 2 of 4 photos, 40 s left"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (99, "99 s"), (120, "2 min"), (11100, "3 h 5 min")]
)
def test_times_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text

"""What a run sees of its own trouble: thresholds on written-out numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from human_edge_detection.core.options import changed
from human_edge_detection.data.annotations import Photo
from human_edge_detection.training import advice
from human_edge_detection.training.advice import Stopwatch, low_rate, tiny_people, useless
from human_edge_detection.training.options import TrainOptions
from tiny_run import SPEC, box_person


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, None),
        ({"lr": 5e-4}, None),
        ({"lr": 1e-4}, "20 times below the rate of --head lite"),
        ({"lr": 1e-4, "head": "spec"}, None),
        ({"lr": 1e-5, "head": "spec"}, "10 times below the rate of --head spec"),
        ({"lr": 1e-4, "init_from": "builtin"}, None),
    ],
)
def test_a_rate_far_below_the_heads_own_is_named(flags: dict, expected: str | None) -> None:
    text = low_rate(changed(TrainOptions(), **flags))
    assert (text is None) == (expected is None)
    assert text is None or expected in text


def test_the_specifications_rate_is_said_to_suit_the_spec_head() -> None:
    text = low_rate(changed(TrainOptions(), lr=1e-4))
    assert text is not None and text.endswith("leave it out for 0.002; 0.0001 suits --head spec")


def test_tiny_people_are_seen_at_the_networks_size() -> None:
    large = replace(SPEC, image_size=(128, 128), strides=(8.0, 16.0))
    people = (box_person(1, 0, 0, 14, 60), box_person(2, 20, 0, 60, 60))
    photo = Photo(1, "a.png", (64, 64), people, Path())
    small = replace(large, image_size=(64, 64))
    assert tiny_people([photo], replace(large, strides=(4.0,))) is None  # 28 px of 16
    assert "50% of the people are narrower than 4 cells" in (tiny_people([photo], large) or "")
    text = tiny_people([photo], small) or ""
    assert "(32 pixels at --image_size 64 64)" in text and "finer stride" in text
    assert tiny_people([], large) is None


def test_a_model_that_masks_nobody_is_not_handed_over_without_a_word() -> None:
    assert useless("miou", 0.3) is None
    assert "its miou is 0.0000" in (useless("miou", 0.0) or "")
    assert "its miou is 0.0000" in (useless("miou", -1.0) or "")


def watch(total: float, waiting: float, extracting: float, workers: int = 0) -> Stopwatch:
    made = Stopwatch(workers)
    made.total, made.waiting, made.extracting = total, waiting, extracting
    return made


def test_what_takes_the_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "usable_cpus", lambda: 4)
    assert watch(100, 20, 40).findings(False) == []
    assert watch(100, 40, 0).findings(True) == [
        "40% of the time waits for photos: try more --num_workers than 0"
    ]
    found = watch(100, 0, 70).findings(False)
    assert found and "70% of the time goes into the frozen network: --cache_features" in found[0]
    monkeypatch.setattr(advice, "usable_cpus", lambda: 0)
    assert "--cache_features DIR, which reads each" in watch(100, 40, 0).findings(False)[0]


def test_advice_comes_once_and_not_too_early(caplog: pytest.LogCaptureFixture) -> None:
    early = watch(9, 9, 0)
    early.advise(is_cached=True, at_end=True)
    assert not caplog.records
    early.total, early.waiting = 60.0, 60.0
    early.advise(is_cached=True)
    assert not caplog.records
    for _ in range(2):
        early.advise(is_cached=True, at_end=True)
    assert len(caplog.records) == 1


def test_the_stopwatch_counts_waiting_within_the_total() -> None:
    own = Stopwatch(0)
    assert list(own.waits([1, 2])) == [1, 2]
    assert own.extracts(lambda: 5) == 5
    assert 0 <= own.waiting <= own.total

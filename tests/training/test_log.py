"""The record of a run: the curves as they were logged, and fractions that add up."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from human_edge_detection.training.log import (
    TrainLog,
    charts_of,
    confusion_picture,
    curves_picture,
    read_curves,
)

ROWS = "group,epoch,name,value\ntrain,1,ce,0.9\nval,1,miou,0.2\ntrain,2,ce,0.7\ntrain,2,ce,0.5\n"
BLUE, ORANGE = (31, 119, 180), (255, 127, 14)
"""The colours of a chart's first two curves."""


def colored(picture: np.ndarray, color: tuple[int, int, int], legend_x: int = 790) -> np.ndarray:
    """Rows and columns [K, 2] of the pixels of one colour, left of the legend."""
    return np.argwhere((picture[:, :legend_x] == color).all(axis=2))


def test_a_repeated_epoch_counts_as_it_was_last(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_curves(path) == {}
    path.write_text(ROWS)
    assert read_curves(path) == {"train/ce": {1: 0.9, 2: 0.5}, "val/miou": {1: 0.2}}


def test_what_is_logged_is_read(tmp_path: Path) -> None:
    for is_writer in (False, True):
        with TrainLog(tmp_path / str(is_writer), is_writer) as log:
            log.row("train", 1, {"lr": 1 / 3})
            log.row("val", 1, {"miou": 0.5})
        wanted = {"train/lr": {1: 0.333333}, "val/miou": {1: 0.5}} if is_writer else {}
        assert read_curves(log.csv_path) == wanted


def test_a_run_that_goes_on_drops_what_was_written_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(ROWS + "val,2,miou,0.3\nval,2,iou")  # a full disk cut the last line off
    with TrainLog(tmp_path) as log:
        log.forget_after({"train": 2, "val": 1})
        assert path.read_text() == ROWS
        log.forget_after({"train": 1, "val": 1})
        assert path.read_text() == "".join(ROWS.splitlines(keepends=True)[:3])


def test_a_run_that_goes_on_leaves_the_bytes_of_one_that_did_not_stop(tmp_path: Path) -> None:
    with TrainLog(tmp_path / "a") as log:
        log.row("train", 1, {"ce": 0.5})
    whole = (tmp_path / "a" / "metrics.csv").read_bytes()
    with TrainLog(tmp_path / "a") as log:
        log.row("train", 2, {"ce": 0.4})
        log.forget_after({"train": 1})
    assert (tmp_path / "a" / "metrics.csv").read_bytes() == whole


def test_losses_of_both_sets_share_a_chart_and_the_rate_has_its_own() -> None:
    one, two = {1: 1.0}, {1: 2.0}
    curves = {"train/total": one, "train/ce": one, "train/lr": one, "val/loss": two,
              "val/miou": two}  # fmt: skip
    assert charts_of(curves) == {
        "loss": {"loss": one, "loss (val)": two, "ce": one},
        "validation": {"miou": two},
        "learning rate": {"lr": one},
    }
    assert charts_of({}) == {"loss": {}, "validation": {}, "learning rate": {}}


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    pixels = colored(curves_picture({"t": {"up": {1: 0.0, 5: 1.0}}}, 0), BLUE)
    low, high = pixels[pixels[:, 1].argmin()], pixels[pixels[:, 1].argmax()]
    assert low[0] > high[0] + 150 and low[1] < high[1] - 400


def test_each_curve_has_its_colour_and_validation_has_that_of_training() -> None:
    lines = {"a": {1: 0.0, 3: 1.0}, "a (val)": {1: 0.2}, "b": {2: 0.7}, "c": {}}
    picture = curves_picture({"t": lines}, 2)
    assert len(colored(picture, BLUE)) > 50
    rows = colored(picture, ORANGE)[:, 0]
    line = colored(picture, BLUE)[:, 0]
    assert len(rows) and abs((line.max() - rows.mean()) / np.ptp(line) - 0.7) < 0.05


def test_one_epoch_equal_values_and_values_that_are_not_finite_can_be_drawn() -> None:
    for lines in ({"a": {4: 0.5}}, {"a": {1: 0.5, 2: 0.5}}, {"a": {1: math.nan, 2: 0.1}}):
        assert len(colored(curves_picture({"t": lines}, 1), BLUE, 820)) > 5
    for nothing in ({}, {"a": {}}, {"a": {1: math.inf}}):
        assert not len(colored(curves_picture({"t": nothing}, 1), BLUE, 820))


def test_the_charts_are_drawn_below_each_other() -> None:
    one, three = (curves_picture({str(n): {} for n in range(count)}, 0) for count in (1, 3))
    assert three.shape == (3 * one.shape[0], one.shape[1], 3)
    assert three.dtype == np.uint8


def test_the_confusion_is_darkest_where_most_pixels_are() -> None:
    full = confusion_picture(np.array([[90, 0, 0], [0, 0, 0], [0, 0, 0]])).astype(int)
    half = confusion_picture(np.array([[45, 45, 0], [0, 0, 0], [0, 0, 0]])).astype(int)
    nothing = confusion_picture(np.zeros((3, 3), np.int64)).astype(int)
    assert full.mean() < nothing.mean() and half.mean() < nothing.mean()
    assert (half < 120).all(axis=2).sum() < (full[..., 0] < 60).sum(), "half is lighter than full"


@pytest.mark.parametrize("name", ["pyplot", "backends.backend_tkagg"])
def test_drawing_leaves_the_state_of_pyplot_alone(name: str) -> None:
    code = (
        "import sys\nfrom human_edge_detection.training.log import curves_picture\n"
        f"curves_picture({{'t': {{}}}}, 0)\nassert 'matplotlib.{name}' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

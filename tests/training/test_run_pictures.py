"""Pictures of a run: the curves as they were logged, and shares that add up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from human_edge_detection.core.images import read_image
from human_edge_detection.training.run_pictures import (
    BOTTOM,
    COLORS,
    LEFT,
    RIGHT,
    SIZE_HW,
    TOP,
    chart,
    confusion_picture,
    read_curves,
    write_run_pictures,
)

ROWS = "group,epoch,name,value\ntrain,1,ce,0.9\nval,1,miou,0.2\ntrain,2,ce,0.7\ntrain,2,ce,0.5\n"


def colored(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns [K, 2], inside the axes, of the pixels of one colour."""
    inside = picture[: SIZE_HW[0], : SIZE_HW[1] - RIGHT]
    return np.argwhere((inside == color).all(axis=2))


def test_a_repeated_epoch_counts_as_it_was_last(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_curves(path) == {}
    path.write_text(ROWS)
    assert read_curves(path) == {"train/ce": {1: 0.9, 2: 0.5}, "val/miou": {1: 0.2}}


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    pixels = colored(chart("t", {"up": {1: 0.0, 5: 1.0}}, 0), COLORS[0])
    low, high = pixels[pixels[:, 1].argmin()], pixels[pixels[:, 1].argmax()]
    assert abs(low[1] - LEFT) < 4 and abs(low[0] - (SIZE_HW[0] - BOTTOM)) < 4
    assert abs(high[1] - (SIZE_HW[1] - RIGHT)) < 5 and abs(high[0] - TOP) < 5


def test_each_line_has_its_colour_and_epochs_may_be_missing() -> None:
    picture = chart("t", {"a": {1: 0.0, 3: 1.0}, "b": {2: 0.7}, "c": {}}, 2)
    assert len(colored(picture, COLORS[0])) > 50
    rows = colored(picture, COLORS[1])[:, 0]
    assert len(rows) and abs(rows.mean() - (TOP + 0.3 * (SIZE_HW[0] - TOP - BOTTOM))) < 3


def test_one_epoch_equal_values_and_values_that_are_not_finite_can_be_drawn() -> None:
    for lines in ({"a": {4: 0.5}}, {"a": {1: 0.5, 2: 0.5}}, {"a": {1: math.nan, 2: 0.1}}):
        assert len(colored(chart("t", lines, 1), COLORS[0])) > 5
    for nothing in ({}, {"a": {}}, {"a": {1: math.inf}}):
        assert not len(colored(chart("t", nothing, 1), COLORS[0]))


def test_the_confusion_is_darkest_where_most_pixels_are() -> None:
    picture = confusion_picture(np.array([[90, 10, 0], [50, 50, 0], [0, 0, 0]]))
    corners = [[int(picture[120 * y + 5, 120 * x + 5].sum()) for x in (1, 2, 3)] for y in (1, 2, 3)]
    assert corners[0][0] < corners[1][0] == corners[1][1] < corners[0][1] < corners[0][2]
    assert corners[2] == [765] * 3, "a class nobody has stays white"


def test_both_pictures_are_written(tmp_path: Path) -> None:
    curves = {"train/ce": {1: 0.9, 2: 0.5}, "val/miou": {1: 0.2, 2: 0.3}}
    paths = write_run_pictures(tmp_path / "new", curves, np.eye(3, dtype=np.int64), 2)
    assert [path.name for path in paths] == ["curves.png", "confusion.png"]
    assert read_image(paths[0]).shape == (2 * SIZE_HW[0], SIZE_HW[1], 3)

"""Pictures of how a run went: its curves over the epochs, and what it mistakes for what."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from human_edge_detection.core.images import save_image
from human_edge_detection.core.structures import ImageArray, MaskClass
from human_edge_detection.evaluation.metrics import IntArray

Curve = dict[int, float]
"""A value for each epoch that has one."""

SIZE_HW = (360, 640)
LEFT, RIGHT, TOP, BOTTOM = 64, 180, 36, 36
"""Margins of a chart, pixels; the legend stands in the right one."""
INK, GRID = (60, 60, 60), (225, 225, 225)
COLORS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14),
          (23, 160, 170), (120, 120, 120))  # fmt: skip
CELL = 120


def read_curves(csv_path: Path) -> dict[str, Curve]:
    """The curves of ``metrics.csv`` by ``group/name``; a repeated epoch counts as it was last.

    Empty where nothing was logged.
    """
    curves: dict[str, Curve] = {}
    if not csv_path.exists():
        return curves
    with csv_path.open(newline="") as file:
        for row in csv.DictReader(file):
            curve = curves.setdefault(f"{row['group']}/{row['name']}", {})
            curve[int(row["epoch"])] = float(row["value"])
    return curves


def write_run_pictures(
    folder: Path, curves: Mapping[str, Curve], matrix: IntArray, best_epoch: int
) -> tuple[Path, Path]:
    """Write ``curves.png`` and ``confusion.png`` into a folder; their paths come back.

    Args:
        folder: where they go, made if absent.
        curves: those of :func:`read_curves`; groups ``train`` and ``val`` get a chart each.
        matrix: int64 [3, 3] pixel counts of the best model, row the true class.
        best_epoch: marked in the charts.
    """
    charts = [
        chart(title, {k.split("/")[1]: v for k, v in curves.items() if k.startswith(group)}, mark)
        for group, title, mark in (
            ("train/", "training loss", best_epoch),
            ("val/", "validation", best_epoch),
        )
    ]
    paths = folder / "curves.png", folder / "confusion.png"
    save_image(paths[0], np.concatenate(charts))
    save_image(paths[1], confusion_picture(matrix))
    return paths


def chart(title: str, lines: Mapping[str, Curve], marked_epoch: int) -> ImageArray:
    """A line chart uint8 [360, 640, 3] RGB over epochs; values that are not finite are left out."""
    picture = np.full((*SIZE_HW, 3), 255, np.uint8)
    _text(picture, title, (LEFT, 22), 0.55)
    known = {
        name: {epoch: value for epoch, value in line.items() if math.isfinite(value)}
        for name, line in lines.items()
    }
    values = [value for line in known.values() for value in line.values()]
    if not values:
        _text(picture, "no values", (LEFT, SIZE_HW[0] // 2), 0.5)
        return picture
    epochs = [epoch for line in known.values() for epoch in line]
    frame = (min(epochs), max(epochs), min(values), max(values))
    _draw_axes(picture, frame)
    if frame[0] <= marked_epoch <= frame[1]:
        x, _ = _place(marked_epoch, frame[2], frame)
        cv2.line(picture, (x, TOP), (x, SIZE_HW[0] - BOTTOM), (170, 170, 170), 1, cv2.LINE_AA)
        _text(picture, "best", (x + 3, TOP + 10), 0.35)
    for number, (name, line) in enumerate(known.items()):
        _draw_line(picture, name, line, number, frame)
    return picture


def confusion_picture(matrix: IntArray) -> ImageArray:
    """The 3x3 confusion as a picture uint8 RGB: each true class's share given to each class."""
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    top = left = CELL
    picture = np.full((top + 3 * CELL + 40, left + 3 * CELL + 20, 3), 255, np.uint8)
    _text(picture, "rows: truth, columns: prediction, share of each row's pixels", (14, 24), 0.42)
    for row in MaskClass:
        _text(picture, row.name.lower(), (14, top + CELL * row + CELL // 2), 0.42)
        _text(picture, row.name.lower(), (left + CELL * row + 14, top - 12), 0.42)
        for column in MaskClass:
            share = float(shares[row, column])
            y, x = top + CELL * row, left + CELL * column
            shade = np.array([255, 255, 255]) + share * (np.array(COLORS[0]) - 255)
            picture[y + 1 : y + CELL, x + 1 : x + CELL] = shade.astype(np.uint8)
            color = (255, 255, 255) if share > 0.6 else INK
            _text(picture, f"{share:.1%}", (x + 30, y + CELL // 2), 0.55, color)
            _text(picture, f"{matrix[row, column]} px", (x + 22, y + CELL // 2 + 24), 0.36, color)
    return picture


def _draw_axes(picture: ImageArray, frame: tuple[int, int, float, float]) -> None:
    first, last, low, high = frame
    for value in np.linspace(low, high, 5):
        _, y = _place(first, float(value), frame)
        cv2.line(picture, (LEFT, y), (SIZE_HW[1] - RIGHT, y), GRID, 1)
        _text(picture, f"{value:.3g}", (8, y + 4), 0.38)
    for epoch in sorted({round(float(e)) for e in np.linspace(first, last, 6)}):
        x, y = _place(epoch, low, frame)
        _text(picture, str(epoch), (x - 4, y + 16), 0.38)
    _text(picture, "epoch", (SIZE_HW[1] - RIGHT + 18, SIZE_HW[0] - BOTTOM + 16), 0.38)


def _draw_line(
    picture: ImageArray,
    name: str,
    line: Curve,
    number: int,
    frame: tuple[int, int, float, float],
) -> None:
    color = COLORS[number % len(COLORS)]
    points = np.array([_place(epoch, line[epoch], frame) for epoch in sorted(line)], np.int32)
    if len(points):
        cv2.polylines(picture, [points.reshape(-1, 1, 2)], False, color, 2, cv2.LINE_AA)
        cv2.circle(picture, (int(points[-1, 0]), int(points[-1, 1])), 3, color, -1, cv2.LINE_AA)
        name = f"{name} {line[max(line)]:.3f}"
    y = TOP + 12 + 20 * number
    cv2.line(picture, (SIZE_HW[1] - RIGHT + 10, y - 4), (SIZE_HW[1] - RIGHT + 26, y - 4), color, 2)
    _text(picture, name, (SIZE_HW[1] - RIGHT + 32, y), 0.36)


def _place(epoch: int, value: float, frame: tuple[int, int, float, float]) -> tuple[int, int]:
    first, last, low, high = frame
    across = (epoch - first) / max(1, last - first)
    up = (value - low) / (high - low) if high > low else 0.5
    height, width = SIZE_HW
    x = LEFT + across * (width - LEFT - RIGHT)
    return round(x), round(height - BOTTOM - up * (height - TOP - BOTTOM))


def _text(
    picture: ImageArray,
    text: str,
    at_xy: tuple[int, int],
    scale: float,
    color: tuple[int, int, int] = INK,
) -> None:
    cv2.putText(picture, text, at_xy, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)

"""The record of a run: TensorBoard scalars, metrics.csv, and the curves and confusion drawn of it.

Pictures are drawn by matplotlib's Agg backend on figures of their own, so that the state of
``pyplot``, which belongs to the user's program, is not touched.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch.utils.tensorboard import SummaryWriter

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.structures import ImageArray, MaskClass
from human_edge_detection.evaluation.metrics import IntArray
from human_edge_detection.modeling.losses import COSTS

Curve = dict[int, float]
"""A value for each epoch that has one."""
Chart = Mapping[str, Curve]
"""The curves of a chart by their names in the legend; those of validation are dashed."""

LOSSES = ("loss", *COSTS, "box", "score")
DASHED = " (val)"


class TrainLog(AbstractContextManager["TrainLog"]):
    """Writes the numbers and pictures of a run under ``log_dir``; a context manager.

    Args:
        log_dir: folder, made if absent; ``metrics.csv`` there is continued by a resumed run.
        is_writer: False in all processes of a run but the first, where nothing is written.
    """

    def __init__(self, log_dir: Path, is_writer: bool = True) -> None:
        self.writer = SummaryWriter(str(log_dir)) if is_writer else None
        self.csv_path = log_dir / "metrics.csv"

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add ``group/name`` points to TensorBoard."""
        if self.writer is None:
            return
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, name: str, image: ImageArray, step: int) -> None:
        """Add a picture uint8 [H, W, 3] to TensorBoard."""
        if self.writer is not None:
            self.writer.add_image(name, image, step, dataformats="HWC")

    def row(self, group: str, epoch: int, values: Mapping[str, float]) -> None:
        """Add an epoch's numbers to ``metrics.csv``, one line a number."""
        if self.writer is None:
            return
        is_new = not self.csv_path.exists()
        with self.csv_path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if is_new:
                writer.writerow(["group", "epoch", "name", "value"])
            writer.writerows([group, epoch, name, f"{v:.6g}"] for name, v in values.items())

    def forget_after(self, last: Mapping[str, int]) -> None:
        """Drop the rows of ``metrics.csv`` that a run wrote after the checkpoint it goes on from.

        Args:
            last: of each group, the last epoch that the checkpoint has.
        """
        if self.writer is None or not self.csv_path.exists():
            return
        lines = self.csv_path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if _is_known(line, last)]
        if kept != lines:
            write_atomically(self.csv_path, "".join(kept).encode())

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is still buffered."""
        if self.writer is not None:
            self.writer.close()


def _is_known(line: str, last: Mapping[str, int]) -> bool:
    """Whether a line is whole and of no later epoch."""
    group, _, rest = line.partition(",")
    epoch = rest.partition(",")[0]
    if not line.endswith("\n") or line.count(",") != 3:
        return False
    return group not in last or (epoch.isdigit() and int(epoch) <= last[group])


def read_curves(csv_path: Path) -> dict[str, Curve]:
    """The curves of ``metrics.csv`` by ``group/name``; of a repeated epoch the last value.

    Empty if nothing was logged.
    """
    curves: dict[str, Curve] = {}
    if not csv_path.exists():
        return curves
    with csv_path.open(newline="") as file:
        for row in csv.DictReader(file):
            curve = curves.setdefault(f"{row['group']}/{row['name']}", {})
            curve[int(row["epoch"])] = float(row["value"])
    return curves


def charts_of(curves: Mapping[str, Curve]) -> dict[str, Chart]:
    """The charts of a run by title: losses of both sets, validation metrics, learning rate."""
    losses: dict[str, Curve] = {}
    for name in LOSSES:
        found = {"": curves.get(f"train/{'total' if name == 'loss' else name}"),
                 DASHED: curves.get(f"val/{name}")}  # fmt: skip
        losses |= {name + mark: curve for mark, curve in found.items() if curve}
    val = {name[4:]: curve for name, curve in curves.items() if name.startswith("val/")}
    rate = curves.get("train/lr", {})
    return {
        "loss": losses,
        "validation": {name: curve for name, curve in val.items() if name not in LOSSES},
        "learning rate": {"lr": rate} if rate else {},
    }


def curves_picture(charts: Mapping[str, Chart], best_epoch: int) -> ImageArray:
    """Line charts below each other over the epochs, uint8 [H, W, 3] RGB.

    Values that are not finite are left out.

    Args:
        charts: the charts by title.
        best_epoch: marked in each chart whose epochs include it.
    """
    figure = Figure(figsize=(9, 3 * len(charts)), layout="constrained")
    axes = figure.subplots(len(charts), sharex=True, squeeze=False)[:, 0]
    for axis, (title, chart) in zip(axes, charts.items(), strict=True):
        _draw_chart(axis, title, chart)
    epochs = [epoch for chart in charts.values() for curve in chart.values() for epoch in curve]
    for axis in axes if best_epoch in epochs else ():
        axis.axvline(best_epoch, color="0.6", linewidth=1, zorder=0)
        axis.annotate("best", (best_epoch, 1), xycoords=("data", "axes fraction"), xytext=(3, -9),
                      textcoords="offset points", fontsize="small", color="0.4")  # fmt: skip
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return _pixels(figure)


def confusion_picture(matrix: IntArray) -> ImageArray:
    """The 3x3 confusion, uint8 [H, W, 3] RGB: the fraction of each true class given to each class.

    Args:
        matrix: int64 [3, 3] pixel counts, row the true class.
    """
    fractions = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    names = [kind.name.lower().replace("_", "-") for kind in MaskClass]
    figure = Figure(figsize=(5.4, 4.8), layout="constrained")
    axis = figure.subplots()
    axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), fraction in np.ndenumerate(fractions):
        color = "white" if fraction > 0.6 else "black"
        text = f"{fraction:.1%}\n{matrix[row, column]:,} px"
        axis.text(column, row, text, ha="center", va="center", color=color)
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names, rotation=90, va="center")
    axis.set(xlabel="prediction", ylabel="truth", title="pixels of each true class")
    return _pixels(figure)


def _draw_chart(axis: Axes, title: str, chart: Chart) -> None:
    colors: dict[str, str] = {}
    for name, curve in chart.items():
        known = {epoch: curve[epoch] for epoch in sorted(curve) if math.isfinite(curve[epoch])}
        color = colors.setdefault(name.removesuffix(DASHED), f"C{len(colors)}")
        label = f"{name} {list(known.values())[-1]:.3g}" if known else name
        axis.plot(
            list(known), list(known.values()), label=label, color=color, marker=".",
            linestyle="--" if name.endswith(DASHED) else "-",
        )  # fmt: skip
    axis.set_title(title, loc="left")
    axis.ticklabel_format(axis="y", scilimits=(-2, 4))
    axis.grid(color="0.9")
    if chart:
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")


def _pixels(figure: Figure) -> ImageArray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(pixels[..., :3])

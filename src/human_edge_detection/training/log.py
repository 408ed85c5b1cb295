"""What a run leaves behind to be looked at: TensorBoard scalars and metrics.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from human_edge_detection.core.structures import ImageArray


class TrainLog(AbstractContextManager["TrainLog"]):
    """Writes numbers and pictures of a run under ``log_dir``; a context manager.

    Args:
        log_dir: folder, made if absent; ``metrics.csv`` there is continued by a resumed run.
        is_writer: False in all processes of a run but the first: nothing is written.
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
            writer = csv.writer(file)
            if is_new:
                writer.writerow(["group", "epoch", "name", "value"])
            writer.writerows([group, epoch, name, f"{v:.6g}"] for name, v in values.items())

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()

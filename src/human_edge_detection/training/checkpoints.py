"""The checkpoints of a run, each written whole or not at all: best, last and numbered ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from human_edge_detection.core.files import atomic_path
from human_edge_detection.modeling.weights import CHECKPOINT_FORMAT

LOG = logging.getLogger(__name__)
BEST, LAST = "best_model.pth", "last.pth"
NUMBERED = "checkpoint_epoch_"


def save_checkpoint(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a payload of tensors and plain values; a crash leaves the previous file whole.

    Raises:
        OSError: if the disk is full or the folder cannot be written; nothing is left behind.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        try:
            torch.save({"format": CHECKPOINT_FORMAT, **payload}, file)
        except RuntimeError as error:  # how torch reports a short write
            raise OSError(f"{path} could not be written: {error}") from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class CheckpointFolder:
    """Writes a run's checkpoints into one folder.

    A failed write, as on a full disk, is reported; the run goes on with the older checkpoints.

    Args:
        folder: where they go, made if absent.
        keep: how many numbered checkpoints stay; 0 for all.
        is_writer: False in all processes of a run but the first, where nothing is written.
    """

    def __init__(self, folder: Path, keep: int = 0, is_writer: bool = True) -> None:
        self.folder, self.keep, self.is_writer = folder, keep, is_writer

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.folder / BEST

    @property
    def last(self) -> Path:
        """The checkpoint to resume."""
        return self.folder / LAST

    def save(self, name: str, payload: Mapping[str, Any]) -> bool:
        """Write a checkpoint; return whether it is there. A failure is logged."""
        path = self.folder / name
        if not self.is_writer:
            return False
        try:
            save_checkpoint(path, payload)
        except OSError as error:
            LOG.error("checkpoint %s was not written, training goes on: %s", path, error)
            return False
        return True

    def save_numbered(
        self, epoch: int, size_hw: tuple[int, int], score: float, payload: Mapping[str, Any]
    ) -> None:
        """Write the checkpoint of an epoch, then delete the oldest ones beyond ``keep``.

        Args:
            epoch: epochs trained.
            size_hw: height and width of the network's input.
            score: the validation score, 0 to 1.
            payload: what to write.
        """
        height, width = size_hw
        name = f"{NUMBERED}{epoch:04d}_{width}x{height}_{round(1000 * score):04d}.pth"
        if self.save(name, payload) and self.keep:
            self._prune(epoch)

    def _prune(self, epoch: int) -> None:
        # Later epochs are those of an older, longer run in the same folder, and stay.
        numbered = {path: _epoch_of(path) for path in self.folder.glob(f"{NUMBERED}*.pth")}
        ours = sorted((p for p, n in numbered.items() if 0 <= n <= epoch), key=numbered.__getitem__)
        for path in ours[: -self.keep]:
            try:
                path.unlink()
            except OSError as error:
                LOG.warning("--keep %d: %s was not deleted: %s", self.keep, path, error)


def _epoch_of(path: Path) -> int:
    digits = path.name.removeprefix(NUMBERED).split("_")[0]
    return int(digits) if digits.isdigit() else -1

"""The checkpoints of a run: written whole or not at all, and what a later run goes on from."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import torch

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.files import atomic_path
from human_edge_detection.core.options import changed
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.modeling.lite_head import LITE_WIDTHS
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.modeling.weights import CHECKPOINT_FORMAT, Payload, require
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.runtime.model_files import EXTRACTOR_NAME, HEAD_NAME
from human_edge_detection.training.options import (
    ModelOptions,
    OutputOptions,
    StartOptions,
    TrainOptions,
)

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

        Its name has the input's size and the validation score, 0…1.
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


LOG = logging.getLogger(__name__)
SET_ASIDE = "earlier_"


def find_resume(options: StartOptions, output: OutputOptions) -> Path | None:
    """The checkpoint to resume, if any.

    Raises:
        InputError: if ``--test_only`` finds no checkpoint.
    """
    last, best = output.checkpoint_dir / LAST, output.checkpoint_dir / BEST
    if options.resume == "auto" and last.exists():
        return last
    if options.resume and options.resume != "auto":
        return Path(options.resume)
    if options.test_only:
        if not best.exists():
            raise InputError(f"--test_only: {best} does not exist; give --resume CHECKPOINT")
        return best
    return None


def lengthened(options: TrainOptions, payload: Payload, path: Path) -> TrainOptions:
    """The options with ``epochs`` counted from the checkpoint's if ``resume_epochs`` is given.

    Raises:
        InputError: if the checkpoint lacks the number of its epochs.
    """
    if not options.start.resume_epochs:
        return options
    require(payload, path, "progress")
    progress = payload["progress"]
    if not isinstance(progress, dict) or type(progress.get("epoch")) is not int:
        raise InputError(f"checkpoint {path} lacks the number of its epochs: use --epochs")
    return changed(options, epochs=progress["epoch"] + options.start.resume_epochs)


def at_its_rate(options: TrainOptions, payload: Payload, path: Path) -> TrainOptions:
    """The options with the peak learning rate of a checkpoint's run, if they ask for none.

    Raises:
        InputError: if the checkpoint's is no rate.
    """
    saved = payload.get("options")
    text = saved.get("lr") if isinstance(saved, dict) else None
    if options.optim.lr is not None or text in (None, "None"):
        return options
    try:
        rate = float(text)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise InputError(f"checkpoint {path} has the learning rate {text!r:.40}: give --lr")
    return changed(options, lr=rate)


def as_trained(options: TrainOptions, spec: ModelSpec, path: Path) -> TrainOptions:
    """The options with the model of a checkpoint, which a resumed run cannot change.

    Raises:
        InputError: naming the flags that ask for another model.
    """
    trained: dict[str, Any] = {
        "head": spec.head, "head_widths": spec.widths, "small_branch": spec.small_branch,
        "mask_size": spec.mask_size, "roi_size": spec.roi_size, "roi_padding": spec.roi_padding,
        "image_size": spec.image_size,
    }  # fmt: skip
    asked, usual = asdict(options.model), asdict(ModelOptions())
    other = {name: value for name, value in trained.items() if asked[name] != value}
    if spec.head == "lite" and asked["head_widths"] == (spec.widths or LITE_WIDTHS):
        other.pop("head_widths", None)
    if wrong := [name for name in other if asked[name] != usual[name]]:
        flags = " ".join(_flag(name, asked[name]) for name in wrong)
        own = " ".join(_flag(name, trained[name]) for name in wrong)
        raise InputError(
            f"{flags} contradicts checkpoint {path}, which has {own}: leave it out, or start a new "
            "run without --resume (--init_from takes weights along)"
        )
    if other:
        LOG.info("from %s: %s", path, " ".join(_flag(name, value) for name, value in other.items()))
    if options.data.data_stats is not None:
        LOG.warning("--data_stats is not used: the class weights are those of %s", path)
    return changed(options, **trained)


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"no --{name}"
    if isinstance(value, tuple):
        value = " ".join(map(str, value)) or "64 96 16"
    return f"--{name} {value}"


def check_extractor(spec: ModelSpec, extractor: YOLOv9FeatureExtractor | None, path: Path) -> None:
    """Refuse an extractor that a checkpoint was not trained on.

    Raises:
        InputError: naming what differs.
    """
    if extractor is None:
        if spec.layers != PersonExtractor.layers:
            raise InputError(
                f"checkpoint {path} was trained on another extractor: leave out --train_extractor"
            )
        return
    spec.check_fits(
        extractor.channels, extractor.strides, layers=extractor.layers, head=path,
        extractor=str(extractor.path),
    )  # fmt: skip
    if extractor.sha != spec.extractor_sha:
        LOG.warning("checkpoint %s was trained on another --onnx_model file", path)


def set_aside(output: OutputOptions, resumed: Path | None) -> Path | None:
    """Move another run's checkpoints and numbers out of a run's way.

    Otherwise the new run would overwrite them one by one, and hand over the other run's best model
    if its own was no better.

    Args:
        output: the folders of the new run.
        resumed: the checkpoint that it goes on from; one of the folder itself belongs to the run.

    Returns:
        The folder that they were moved to, or None if there were none.
    """
    folder = output.checkpoint_dir
    if resumed is not None and resumed.resolve().parent == folder.resolve():
        return None
    if not any((folder / name).exists() for name in (BEST, LAST)):
        return None
    names = [f"{Path(BEST).stem}.*", LAST, f"{NUMBERED}*.pth", HEAD_NAME, EXTRACTOR_NAME]
    files = [path for name in names for path in sorted(folder.glob(name))]
    place = next(p for n in count(1) if not (p := folder / f"{SET_ASIDE}{n}").exists())
    place.mkdir()
    for path in [*files, output.log_dir / "metrics.csv"]:
        if path.exists():
            path.replace(place / path.name)
    LOG.warning(
        "%s held another run, now in %s: --resume %s goes on with that one, another "
        "--checkpoint_dir keeps runs apart",
        folder, place, place / LAST,
    )  # fmt: skip
    return place

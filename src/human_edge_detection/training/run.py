"""A training run: its epochs, validations and checkpoints. It holds the run's progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from human_edge_detection.core.errors import InputError, one_line
from human_edge_detection.core.files import remove_partials
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.evaluate import Evaluation, evaluate
from human_edge_detection.evaluation.pictures import fixed_panels
from human_edge_detection.modeling.features import FeatureSource, torch_infer
from human_edge_detection.modeling.losses import RoiMaskLoss
from human_edge_detection.modeling.weights import require
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.training.checkpoints import BEST, LAST, CheckpointFolder
from human_edge_detection.training.distributed import ALONE, Processes, StopRequest, stop_on_signals
from human_edge_detection.training.finish import closing_text, draw_pictures, export_best, take_best
from human_edge_detection.training.inputs import photo_loader
from human_edge_detection.training.log import TrainLog
from human_edge_detection.training.options import LoopOptions, OutputOptions
from human_edge_detection.training.state import Progress, with_progress
from human_edge_detection.training.trainer import Trainer

LOG = logging.getLogger(__name__)


class Validator:
    """Scores a model, with whatever weights it has, on the photos that the processes share."""

    def __init__(
        self,
        model: nn.ModuleDict,
        features: FeatureSource,
        loss: RoiMaskLoss,
        dataset: PhotoDataset,
        loop: LoopOptions,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.dataset, self.loop, self.processes = dataset, loop, processes
        self.loss, self.device = loss, device
        self.infer = torch_infer(model, features, device)
        self._loader: DataLoader[Any] | None = None

    def scores(
        self, stop: StopRequest | None = None, processes: Processes | None = None
    ) -> Evaluation:
        """The scores and losses of the model's present weights.

        Args:
            stop: ends the validation early; the scores of a stopped one are incomplete.
            processes: the processes that share the photos this time; None for those of the run.
        """
        processes = processes or self.processes
        loader = self._batches(processes)
        parts = with_progress(loader, len(loader), "validation", "batches", processes.is_first)
        readable = ([s for s in part if s is not None] for part in parts)
        batches = takewhile(lambda _: not stop, readable)
        own = evaluate(self.dataset, self.infer, loss=self._losses, batches=batches)
        order = {photo.id: place for place, photo in enumerate(self.dataset.photos)}
        scores = sorted(processes.gather(own.scores), key=lambda score: order[score.photo_id])
        shares = processes.gather([(len(own.scores), own.losses)])
        losses = {
            name: sum(count * part[name] for count, part in shares if count) / len(scores)
            for name in next((part for _, part in shares if part), {})
        }
        return replace(own, scores=tuple(scores), losses=losses)

    @torch.no_grad()
    def _losses(self, logits: FloatArray, targets: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        tensors = (torch.from_numpy(array).to(self.device) for array in (logits, targets))
        costs = self.loss(*tensors)
        return {"loss" if k == "total" else k: float(v) for k, v in costs.items()}

    def _batches(self, processes: Processes) -> DataLoader[Any]:
        """This process' share of the batches, the same ones that one process alone would make."""
        size, count = self.loop.batch_size, len(self.dataset)
        starts = range(0, count, size)[processes.rank :: processes.count]
        batches = [list(range(start, min(start + size, count))) for start in starts]
        if self._loader is None or self._loader.batch_sampler != batches:
            self._loader = photo_loader(self.dataset, batches, list, self.loop.num_workers)
        return self._loader


class Run:
    """A run and its progress; the trainer and the validator do the work.

    Args:
        trainer: takes the training steps.
        validator: scores the model.
        model: the model that both work on.
        spec: its spec.
        extractor: the frozen network; None if it is trained along.
        loop: epochs and size of the batches.
        output: what is written, and how often.
        settings: the options by name, for the checkpoints.
        processes: the processes that share the work.
        progress: where the run stands.
    """

    def __init__(
        self,
        trainer: Trainer,
        validator: Validator,
        model: nn.ModuleDict,
        spec: ModelSpec,
        extractor: YOLOv9FeatureExtractor | None,
        loop: LoopOptions,
        output: OutputOptions,
        settings: Mapping[str, str],
        processes: Processes,
        progress: Progress,
    ) -> None:
        self.trainer, self.validator, self.model = trainer, validator, model
        self.spec, self.extractor = spec, extractor
        self.loop, self.output, self.settings = loop, output, settings
        self.processes, self.progress = processes, progress
        self.began = progress.epoch
        self.folder = CheckpointFolder(output.checkpoint_dir, output.keep, processes.is_first)
        self.metric = "target_iou_image" if extractor is None else "miou"
        """The validation metric that picks the best model."""

    def resume(self, payload: dict[str, Any], path: Path, *, is_longer: bool = False) -> None:
        """Go on from the payload of a checkpoint.

        Args:
            payload: what the checkpoint holds.
            path: its file, for messages.
            is_longer: the run was given more epochs, so that early stopping counts anew.

        Raises:
            InputError: if the checkpoint is of another model.
        """
        require(payload, path, "weights", "optimizer", "progress", "torch_rng", "ema", "options")
        try:
            self.trainer.restore(payload)
            self.progress = Progress.restored(payload, self.loop.batch_size * self.processes.count)
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = f"{type(error).__name__} {error}"
            raise InputError(
                f"--resume {path} does not fit this run: {one_line(reason, 300)}"
            ) from error
        if is_longer:
            self.progress.waited = 0
        if not self.folder.best.exists():  # the best model of another folder cannot be exported
            self.progress.forget_best()

    def train(self) -> int:
        """Train to the last epoch; return 0, or 130 if interrupted."""
        self.began = self.progress.epoch
        if self._is_over() and not self._is_due():
            LOG.warning(
                "nothing left to train, use --resume_epochs: %d epochs are done", self.began
            )
        for line in f"{self.spec.head} head, {self.trainer.plan()}".splitlines():
            LOG.info(line)
        if self.processes.is_first:
            for place in self.output.folders:
                remove_partials(place)
        is_writer = self.processes.is_first
        with TrainLog(self.output.log_dir, is_writer) as log, stop_on_signals() as stop:
            log.forget_after({"train": self.began, "val": self.progress.validated})
            while not self.processes.any(stop):
                if self._is_due():
                    self._validate_epoch(log, stop)
                elif self._is_over():
                    return self.finish(log) if self.processes.is_first else 0
                else:
                    self._train_epoch(log, stop)
            self.folder.save(LAST, self.payload())
        LOG.warning(
            "stopped; go on with: main.py … --resume %s --epochs %d", self.folder.last,
            self.loop.epochs,
        )  # fmt: skip
        return 130

    def _is_due(self) -> bool:
        """Whether the present weights end an epoch that is still to be validated."""
        progress, last = self.progress, self.loop.epochs
        due = progress.epoch % self.output.validate_every == 0 or progress.epoch == last
        return due and progress.batches == 0 and progress.epoch > progress.validated

    def _is_over(self) -> bool:
        """Whether the epochs are done, or no validation was better for long enough."""
        progress = self.progress
        is_stuck = 0 < self.output.early_stop <= progress.waited and progress.batches == 0
        return progress.epoch >= self.loop.epochs or is_stuck

    def _train_epoch(self, log: TrainLog, stop: StopRequest) -> None:
        rates: list[float] = []

        def on_step(scalars: dict[str, float], step: int) -> None:
            log.scalars("train", scalars, step)
            rates.append(scalars["lr"])

        means = self.trainer.train_epoch(self.progress, stop, on_step)
        if self.progress.batches:  # stopped
            return
        rate = {"lr": rates[-1]} if rates else {}
        log.row("train", self.progress.epoch, means.values() | rate)
        self.folder.save(LAST, self.payload())

    def _validate_epoch(self, log: TrainLog, stop: StopRequest) -> None:
        progress = self.progress
        with self.trainer.averaged():
            evaluation = self.validator.scores(stop)
        if self.processes.any(stop):
            return
        epoch, summary = progress.epoch, evaluation.summary()
        progress.validated = epoch
        log.scalars("val", summary, epoch)
        log.row("val", epoch, summary)
        LOG.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.4f}" for k, v in summary.items()))
        if self.processes.is_first:
            for name, picture in fixed_panels(self.validator.dataset.photos, evaluation.scores):
                log.picture(f"panel/{name}", picture, epoch)
        is_better = summary[self.metric] > progress.best_score
        progress.waited = 0 if is_better else progress.waited + 1
        if is_better:
            progress.best_score, progress.best_epoch = summary[self.metric], epoch
        payload = self.payload()
        if is_better:
            self.folder.save(BEST, payload)
        if epoch % self.output.save_every == 0 or self._is_over():
            score = float(np.nan_to_num(summary[self.metric]))
            self.folder.save_numbered(epoch, self.spec.image_size, score, payload)
        self.folder.save(LAST, payload)

    def finish(self, log: TrainLog) -> int:
        """Draw and export the best checkpoint and print the next command; return 0.

        Args:
            log: where the pictures are kept too.

        Raises:
            InputError: there is no best checkpoint, because no validation gave a value.
        """
        best, photos = self.folder.best, self.validator.dataset.photos
        if not best.exists():
            raise InputError(
                f"{best} is not there: no validation gave a {self.metric} (are there people with "
                "masks in --val_ann?), or it could not be written (is the disk full?)"
            )
        weights = take_best(self.model, self.spec, best)
        evaluation = self.validator.scores(processes=ALONE)  # the others have left
        folder = self.output.val_output_dir
        drawn = draw_pictures(folder, photos, evaluation, self.progress, log)
        head, extractor = export_best(self.model, self.spec, self.extractor, best)
        files = {"weights": weights, **drawn}
        print(closing_text(self.progress, self.began, self.metric, files, head, extractor))
        return 0

    def test(self) -> int:
        """Validate the present weights and print the numbers; return 0."""
        with self.trainer.averaged():
            summary = self.validator.scores().summary()
        for name, value in summary.items() if self.processes.is_first else ():
            print(f"{name:20s} {value:.4f}")
        return 0

    def payload(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "spec": self.spec.to_dict(),
            "options": dict(self.settings),
            "saved": time.strftime("%Y-%m-%d %H:%M:%S"),
            "progress": self.progress.saved(),
            **self.trainer.state(),
        }

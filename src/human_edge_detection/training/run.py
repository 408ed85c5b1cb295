"""One training run put together: its epochs, validations, checkpoints, pictures and export."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.images import read_image
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.augment import Augmentation
from human_edge_detection.data.dataset import PhotoDataset, ReadablePhotos
from human_edge_detection.evaluation.evaluate import Evaluation, evaluate
from human_edge_detection.evaluation.pictures import fixed_panels, write_panels
from human_edge_detection.modeling.features import (
    BoundFeatures,
    FeatureSource,
    torch_infer,
    trained_features,
)
from human_edge_detection.modeling.initial import new_model
from human_edge_detection.modeling.losses import COSTS, RoiMaskLoss
from human_edge_detection.modeling.weights import TrainedWeights, require
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.training.checkpoints import BEST, LAST, CheckpointFolder
from human_edge_detection.training.distributed import ALONE, Processes
from human_edge_detection.training.feature_cache import FeatureCache, cached_features
from human_edge_detection.training.finish import closing_words, export_best, take_best
from human_edge_detection.training.log import TrainLog
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.process import StopRequest, ignore_signals, stop_on_signals
from human_edge_detection.training.run_pictures import read_curves, write_run_pictures
from human_edge_detection.training.trainer import Trainer

LOG = logging.getLogger(__name__)


class Run:
    """The parts of one run, put together.

    Args:
        options: how to train.
        spec: the model.
        train_photos: photos to train on.
        val_photos: photos to validate on.
        extractor: the frozen network; None where it is trained along.
        processes: who shares the work.
        start: trained weights to begin with; they count as epoch 0, so that what is handed over
            is never worse than they are. None for a fresh model.
    """

    def __init__(
        self,
        options: TrainOptions,
        spec: ModelSpec,
        train_photos: Sequence[Photo],
        val_photos: Sequence[Photo],
        extractor: YOLOv9FeatureExtractor | None,
        processes: Processes = ALONE,
        start: TrainedWeights | None = None,
    ) -> None:
        self.options, self.spec, self.extractor = options, spec, extractor
        self.processes = processes
        self.folder = CheckpointFolder(options.checkpoint_dir, options.keep, processes.is_first)
        self.device = torch.device(
            "cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu"
        )
        self.model = new_model(
            spec, start, with_extractor=options.train_extractor,
            with_detector=options.train_detector,
        )  # fmt: skip
        train, features = self._source("train", train_photos, True)
        self.val_photos, self.val_features = self._source("val", val_photos, False)
        cached = options.cache_features is not None
        amount = Augmentation(
            options.zoom_jitter, options.color_jitter, options.box_jitter, not options.no_flip,
            options.copy_paste, options.zoom_middle,
        )  # fmt: skip
        train_spec = replace(spec, image_size=options.train_image_size or spec.image_size)
        dataset = PhotoDataset(
            train, train_spec, amount, min_roi_size=options.min_roi_size, max_rois=options.max_rois,
            seed=options.seed, with_images=not cached,
        )  # fmt: skip
        self.val_set = PhotoDataset(self.val_photos, spec, with_images=not cached)
        weights = {name: getattr(options, f"{name}_weight") for name in COSTS}
        loss = RoiMaskLoss(spec.class_weights, weights, options.dice_classes)
        self._loader: DataLoader[Any] | None = None
        self.trainer = Trainer(self.model, features, loss, dataset, options, self.device, processes)
        if start is not None:
            self.trainer.progress.validated = -1

    def _source(
        self, name: str, photos: Sequence[Photo], is_train: bool
    ) -> tuple[Sequence[Photo], FeatureSource]:
        folder, size = self.options.cache_features, self.options.image_size
        if self.extractor is None:
            return photos, trained_features(self.model["extractor"], self.device)
        if folder is None:
            return photos, BoundFeatures(self.extractor)
        with_mirror = is_train and not self.options.no_flip
        cache = FeatureCache(
            folder / name, photos, self.extractor, size, with_mirror, self.options.cache_limit
        )
        if unreadable := cache.fill():
            raise InputError(
                f"--cache_features: {len(unreadable)} of the {name} photos cannot be read, the "
                f"first is {photos[unreadable[0]].path}: mend or remove them from the annotations"
            )
        return photos, cached_features(cache)

    def resume(self, payload: dict[str, object], path: Path) -> None:
        """Go on from a checkpoint's payload."""
        require(payload, path, "weights", "optimizer", "progress", "torch_rng", "ema", "options")
        try:
            self.trainer.restore(payload)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"--resume {path} does not fit this run: {error}") from error
        progress = self.trainer.progress
        if self.options.resume_epochs:
            progress.waited = 0
        if not self.folder.best.exists():  # another run's best cannot be handed over as this one's
            progress.best_miou, progress.best_epoch, progress.waited = -1.0, 0, 0
            progress.validated = min(progress.validated, progress.epoch - 1)

    def train(self) -> int:
        """Train to the last epoch; 130 comes back when interrupted."""
        options, trainer = self.options, self.trainer
        LOG.info(
            "%s head, %.2f M parameters, %d photos, lr %.2g (%s), %s",
            self.spec.head, sum(p.numel() for p in trainer.model.parameters()) / 1e6,
            len(trainer.dataset), options.peak_lr, options.scheduler, trainer.device,
        )  # fmt: skip
        self.folder.clear_leftovers()
        LOG.info(
            "%d photos a step: --batch_size %d, %d processes, %d batches accumulated",
            trainer.photos_a_batch * options.gradient_accumulation, options.batch_size,
            self.processes.count, options.gradient_accumulation,
        )  # fmt: skip
        is_writer = self.processes.is_first
        with TrainLog(options.log_dir, is_writer) as log, stop_on_signals() as stop:
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
            options.epochs,
        )  # fmt: skip
        return 130

    def _is_due(self) -> bool:
        """Whether the weights at hand end an epoch that is still to be validated."""
        progress, options = self.trainer.progress, self.options
        due = progress.epoch % options.validate_every == 0 or progress.epoch == options.epochs
        return due and progress.batches == 0 and progress.epoch > progress.validated

    def _is_over(self) -> bool:
        """Whether the epochs are done, or waiting for a better one has been long enough."""
        progress, options = self.trainer.progress, self.options
        is_stuck = 0 < options.early_stop <= progress.waited and progress.batches == 0
        return progress.epoch >= options.epochs or is_stuck

    def _train_epoch(self, log: TrainLog, stop: StopRequest) -> None:
        trainer = self.trainer
        means = trainer.train_epoch(stop, lambda s, step: log.scalars("train", s, step))
        if trainer.progress.batches:  # stopped
            return
        log.row("train", trainer.progress.epoch, means.values())
        self.folder.save(LAST, self.payload())

    def _validate_epoch(self, log: TrainLog, stop: StopRequest) -> None:
        options, progress = self.options, self.trainer.progress
        scores = self.validate(stop)
        if self.processes.any(stop):
            return
        epoch, summary = progress.epoch, scores.summary()
        progress.validated = epoch
        log.scalars("val", summary, epoch)
        log.row("val", epoch, summary)
        LOG.info("epoch %d: %s", epoch, ", ".join(f"{k} {v:.4f}" for k, v in summary.items()))
        if self.processes.is_first:
            for name, picture in fixed_panels(self.val_photos, scores.scores):
                log.picture(f"panel/{name}", picture, epoch)
        is_better = summary[self.metric] > progress.best_miou
        progress.waited = 0 if is_better else progress.waited + 1
        if is_better:
            progress.best_miou, progress.best_epoch = summary[self.metric], epoch
        payload = self.payload()
        if is_better:
            self.folder.save(BEST, payload)
        if epoch % options.save_every == 0 or self._is_over():
            score = float(np.nan_to_num(summary[self.metric]))
            self.folder.save_numbered(epoch, options.image_size, score, payload)
        self.folder.save(LAST, payload)

    def finish(self, log: TrainLog) -> int:
        """Draw and export the best checkpoint, say what to do next; 0 comes back."""
        options, trainer, best = self.options, self.trainer, self.folder.best
        self.processes = ALONE  # the others have left
        if not best.exists():
            raise InputError(f"{best} is not there: the run never validated")
        weights = take_best(trainer.model, self.spec, best)
        trainer.average = None
        evaluation = self.validate()
        scores = evaluation.scores
        panels = write_panels(self.val_photos, scores, options.val_output_dir / "panels")
        for number, panel in enumerate(panels[:4]):
            log.picture(f"best_model/panel_{number}", read_image(panel), trainer.progress.epoch)
        curves = read_curves(log.csv_path)
        drawn = write_run_pictures(
            options.val_output_dir, curves, evaluation.matrix, trainer.progress.best_epoch
        )
        for path in drawn:
            log.picture(f"best_model/{path.stem}", read_image(path), trainer.progress.epoch)
        head, extractor = export_best(trainer.model, self.spec, self.extractor, best)
        files = {
            "weights": weights, "curves": drawn[0], "confusion": drawn[1],
            "panels": options.val_output_dir / "panels",
        }  # fmt: skip
        print(closing_words(trainer.progress, self.metric, files, head, extractor))
        return 0

    @property
    def metric(self) -> str:
        """The validation metric that picks the best model."""
        return "target_iou_image" if self.options.train_extractor else "miou"

    def test(self) -> int:
        """Validate the resumed weights and print the numbers."""
        summary = self.validate().summary()
        for name, value in summary.items() if self.processes.is_first else ():
            print(f"{name:20s} {value:.4f}")
        return 0

    def validate(self, stop: StopRequest | None = None) -> Evaluation:
        """The scores of the present weights, averaged ones where there are any.

        Of as many photos as were done when ``stop`` was set, so they count only if it was not.
        """
        trainer, processes = self.trainer, self.processes
        readable = ([s for s in samples if s is not None] for samples in self._val_loader())
        batches = takewhile(lambda _: not stop, readable)
        infer = torch_infer(trainer.model, self.val_features, trainer.device)
        average = trainer.average
        with average.applied_to(trainer.model) if average else nullcontext():
            own = evaluate(self.val_set, infer, batches=batches)
        order = {photo.id: place for place, photo in enumerate(self.val_photos)}
        scores = sorted(processes.gather(own.scores), key=lambda score: order[score.photo_id])
        return replace(own, scores=tuple(scores))

    def _val_loader(self) -> DataLoader[Any]:
        """This process' share of the batches, the same ones that one process alone would make.

        One loader for all validations, see :meth:`Trainer.loader`.
        """
        size, count = self.options.batch_size, len(self.val_set)
        starts = range(0, count, size)[self.processes.rank :: self.processes.count]
        batches = [list(range(start, min(start + size, count))) for start in starts]
        if self._loader is None or self._loader.batch_sampler != batches:
            workers = self.options.loader_workers
            self._loader = DataLoader(
                ReadablePhotos(self.val_set),  # type: ignore[arg-type]  # any sequence will do
                batch_sampler=batches, collate_fn=list,
                num_workers=workers, worker_init_fn=ignore_signals,
                persistent_workers=workers > 0,
            )  # fmt: skip
        return self._loader

    def payload(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "spec": self.spec.to_dict(),
            "options": {k: str(v) for k, v in asdict(self.options).items()},
            "saved": time.strftime("%Y-%m-%d %H:%M:%S"),
            **self.trainer.state(),
        }

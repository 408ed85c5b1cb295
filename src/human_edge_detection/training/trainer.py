"""The training loop: batches in, better weights out, a state that resumes exactly."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from human_edge_detection.data.dataset import PhotoDataset, ReadablePhotos
from human_edge_detection.modeling.detector_loss import detector_loss
from human_edge_detection.modeling.features import Batch, FeatureSource, collate, network_images
from human_edge_detection.modeling.losses import COSTS, RoiMaskLoss
from human_edge_detection.modeling.person_extractor import Candidates
from human_edge_detection.training.amp import BadSteps, Precision
from human_edge_detection.training.distributed import ALONE, Processes
from human_edge_detection.training.optim import MovingAverage, Schedule, make_optimizer
from human_edge_detection.training.options import TrainOptions
from human_edge_detection.training.process import StopRequest, ignore_signals
from human_edge_detection.training.sampler import EpochBatches, PresentBatches
from human_edge_detection.training.state import Costs, Means, Progress

LOG = logging.getLogger(__name__)


class Trainer:
    """One model with its optimizer, schedule, moving average and place in the run.

    Args:
        model: the head, as ``model["head"]``, and what else is trained.
        features: where a batch's feature maps come from.
        loss: the loss.
        dataset: the training photos.
        options: how to train.
        device: where the head runs.
        processes: who shares the work.
    """

    def __init__(
        self,
        model: nn.ModuleDict,
        features: FeatureSource,
        loss: RoiMaskLoss,
        dataset: PhotoDataset,
        options: TrainOptions,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.features, self.loss = features, loss.to(device)
        self.dataset, self.options, self.device = dataset, options, device
        self.processes = processes
        self.photos_a_batch = options.batch_size * processes.count
        self.optimizer = make_optimizer(model, options)
        self.precision = Precision(options.precision, device)
        per_epoch = math.ceil(len(dataset) / self.photos_a_batch / options.gradient_accumulation)
        self.schedule = Schedule(
            options.scheduler, options.peak_lr, per_epoch, options.epochs, options.min_lr,
            options.lr_decay_epochs, options.lr_decay_rate, options.warmup_steps,
        )  # fmt: skip
        self.average = MovingAverage(model, options.ema) if options.ema else None
        self._batches = PresentBatches()
        self._loader: DataLoader[Batch] | None = None
        self.progress = Progress()
        self.bad_steps = BadSteps(options.peak_lr)

    def train_epoch(
        self, stop: StopRequest, on_step: Callable[[dict[str, float], int], None]
    ) -> Means:
        """Train the rest of the present epoch, or until ``stop`` is set.

        Args:
            stop: looked at after every step.
            on_step: takes the scalars and the number of each step.
        """
        options, progress = self.options, self.progress
        loader = self.loader()
        self.model.train()
        means, started = Means(), time.perf_counter()
        bar = tqdm(
            total=len(loader) + progress.batches, initial=progress.batches, unit="batch",
            desc=f"epoch {progress.epoch + 1}/{options.epochs}", dynamic_ncols=True,
            disable=None if self.processes.is_first else True,
        )  # fmt: skip
        with bar:
            for parts in _in_groups(iter(loader), options.gradient_accumulation):
                scalars = self.train_step(parts, means)
                progress.batches += len(parts)
                speed = means.photos / (time.perf_counter() - started)
                bar.update(len(parts))
                bar.set_postfix_str(
                    f"loss {means['total']:.4f} "
                    + "".join(f"{name} {means[name]:.4f} " for name in COSTS)
                    + f"lr {scalars['lr']:.2e} {speed:.1f} img/s"
                )
                on_step({**scalars, "images_per_s": speed}, progress.step)
                if self.processes.any(stop):
                    return means
        progress.epoch, progress.batches = progress.epoch + 1, 0
        return means

    def loader(self) -> DataLoader[Batch]:
        """The batches of the present epoch that are still to come.

        It is the same loader every time: its workers live as long as the trainer. Workers that are
        forked later share the memory of training, and each page written from then on is copied.
        """
        options, progress = self.options, self.progress
        self._batches.present = EpochBatches(
            len(self.dataset), options.batch_size, options.seed, progress.epoch, progress.batches,
            self.processes.rank, self.processes.count,
        )  # fmt: skip
        if self._loader is None:
            self._loader = DataLoader(
                ReadablePhotos(self.dataset),  # type: ignore[arg-type]  # any sequence will do
                batch_sampler=self._batches, collate_fn=collate,
                num_workers=options.loader_workers, worker_init_fn=ignore_signals,
                persistent_workers=options.loader_workers > 0,
            )  # fmt: skip
        return self._loader

    @property
    def schedule_step(self) -> int:
        """Steps of the schedule that are done.

        Counted by epochs: a resumed run may have more photos an epoch than the one before.
        """
        done = self.progress.batches // self.options.gradient_accumulation
        return self.progress.epoch * self.schedule.steps_per_epoch + done

    def train_step(self, parts: list[Batch], means: Means) -> dict[str, float]:
        """One optimizer step on the batches of ``parts`` together; its scalars come back."""
        lr = self.schedule.at(self.schedule_step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        parts = [part for part in parts if len(part.rois)]
        norms, rois, photos = self._whole_step(parts)
        means.photos += photos
        total = {name: torch.zeros((), device=self.device) for name in self.cost_names}
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        for part in parts:
            costs = self.costs(part, norms, len(part.samples) / photos)
            self.precision.backward(costs["total"])
            for name, cost in costs.items():
                total[name] = total[name] + cost.detach()
        if rois:
            summed = self.processes.sum(torch.stack(list(total.values())))
            total = dict(zip(total, summed, strict=True))
            self.processes.sum_gradients(self.model)
        norm = self._update(total, parts, statistics) if rois else 0.0
        self.progress.step += 1
        if not rois or not torch.isfinite(total["total"]):
            return {"lr": lr}
        means.add(total, rois)
        scalars = {"loss" if k == "total" else k: float(v) for k, v in total.items()}
        scalars |= self.precision.scalars()
        return {**scalars, **({} if math.isnan(norm) else {"gradient_norm": norm}), "lr": lr}

    @property
    def cost_names(self) -> tuple[str, ...]:
        """The names of the costs of a step."""
        found = ("box", "score") if self.options.train_detector else ()
        return ("total", *COSTS, *found)

    def _whole_step(self, parts: list[Batch]) -> tuple[Tensor, int, int]:
        """Normalizers float32 [2], ROIs and photos of a step, in all processes together."""
        own = torch.zeros(4, device=self.device)
        for part in parts:
            own[:2] += self.loss.normalizers(part.targets.to(self.device))
            own[2:] += own.new_tensor([len(part.rois), len(part.samples)])
        whole = self.processes.sum(own)
        return whole[:2], int(whole[2]), int(whole[3])

    def costs(self, batch: Batch, norms: Tensor, share: float) -> Costs:
        """What a part of a step costs.

        Args:
            batch: the part.
            norms: the mask loss' normalizers of the whole step.
            share: part of the step's photos that are in this batch.
        """
        logits, candidates = self.answers(batch)
        masks = self.loss(logits, batch.targets.to(self.device), norms)
        costs: Costs = dict(masks)
        if candidates is not None:
            people = [sample.people for sample in batch.samples if sample.people is not None]
            found = detector_loss(candidates, people)
            costs["total"] = masks["total"] + self.options.detector_weight * share * found.total
            costs |= {"box": share * found.box, "score": share * found.score}
        return costs

    def answers(self, batch: Batch) -> tuple[Tensor, Candidates | None]:
        """Logits float [N, 3, M, M] of a batch's ROIs, and the detector's answer where trained.

        Under autocast where asked for.
        """
        candidates: Candidates | None = None
        with self.precision.autocast():
            if "extractor" in self.model:
                images = network_images(batch, self.device)
                maps, candidates = self.model["extractor"](images)
            else:
                maps = [m.to(self.device) for m in self.features(batch)]
                maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
            logits: Tensor = self.model["head"](maps, batch.rois.to(self.device))
        return logits, candidates

    def _update(self, total: Costs, parts: list[Batch], statistics: list[Tensor]) -> float:
        """The norm of the gradient that was stepped along; NaN if the step was left out."""
        norm, is_overflow = math.nan, False
        if torch.isfinite(total["total"]):
            limit = self.options.gradient_clip or math.inf
            norm, is_overflow = self.precision.step(self.optimizer, self.model.parameters(), limit)
        if math.isfinite(norm):
            self.bad_steps.forget()
            self.processes.average_statistics(self.model)
            if self.average is not None:
                self.average.update(self.model)
            return norm
        self._leave_out(is_overflow, total, parts, statistics)
        return math.nan

    def _leave_out(
        self, is_overflow: bool, total: Costs, parts: list[Batch], statistics: list[Tensor]
    ) -> None:
        """Undo what a step that was not made has left in the model, and report it."""
        # A batch norm has already taken the batch in, and would never get rid of a NaN.
        for buffer, before in zip(self.model.buffers(), statistics, strict=True):
            buffer.copy_(before)
        if is_overflow:
            LOG.info(
                "step %d left out: its float16 gradients overflow, the loss scale is halved",
                self.progress.step,
            )
            return
        photos = [sample.photo_index for part in parts for sample in part.samples]
        names = [self.dataset.photos[index].file_name for index in photos]
        costs = {name: float(value) for name, value in total.items()}
        self.bad_steps.note(self.progress.step, costs, names)

    def state(self) -> dict[str, Any]:
        """All that resuming needs, as tensors and plain values."""
        return {
            "weights": self.model.state_dict(),
            "ema": self.average.weights if self.average else None,
            "ema_step": self.average.step if self.average else 0,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.state(),
            "progress": asdict(self.progress),
            "photos_a_batch": self.photos_a_batch,
            "torch_rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`'s answer; schedule, decay and momentum stay the options'."""
        self.model.load_state_dict(state["weights"])
        asked = [
            {k: v for k, v in group.items() if k not in ("params", "lr")}
            for group in self.optimizer.param_groups
        ]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(own)
        self.precision.restore(state.get("scaler"))
        self.progress = Progress(**state["progress"])
        before = state.get("photos_a_batch", self.photos_a_batch)
        self.progress.batches = self.progress.batches * before // self.photos_a_batch
        torch.set_rng_state(state["torch_rng"])
        if self.average is None:
            return
        if state["ema"] is None:  # switched on by this run
            self.average = MovingAverage(self.model, self.options.ema)
        else:
            self.average.weights = {k: v.to(self.device) for k, v in state["ema"].items()}
            self.average.step = state["ema_step"]


def _in_groups(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    while group := list(islice(batches, count)):
        yield group

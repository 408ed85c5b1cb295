"""Training steps: batches in, better weights out, a state that resumes exactly."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.modeling.detector_loss import detector_loss
from human_edge_detection.modeling.features import Batch, FeatureSource, collate, network_images
from human_edge_detection.modeling.losses import COSTS, RoiMaskLoss
from human_edge_detection.modeling.rtmdet import Candidates
from human_edge_detection.training.advice import Stopwatch
from human_edge_detection.training.distributed import ALONE, Processes, StopRequest
from human_edge_detection.training.inputs import EpochBatches, PresentBatches, photo_loader
from human_edge_detection.training.optim import (
    BadSteps,
    MovingAverage,
    Precision,
    Schedule,
    make_optimizer,
)
from human_edge_detection.training.options import LoopOptions, OptimOptions
from human_edge_detection.training.state import Costs, EpochDisplay, Means, Pace, Progress

LOG = logging.getLogger(__name__)


class Trainer:
    """Trains one model: its optimizer, schedule, moving average and loader.

    Args:
        model: the head, as ``model["head"]``, and what else is trained.
        features: where a batch's feature maps come from.
        loss: the loss of the masks.
        dataset: the training photos.
        optim: optimizer and learning rate.
        loop: epochs, batches and seed.
        peak_lr: the learning rate after the warm-up.
        detector_weight: factor of the detector's loss; None if no detector is trained.
        device: where the model runs.
        processes: the processes that share the work.
    """

    def __init__(
        self,
        model: nn.ModuleDict,
        features: FeatureSource,
        loss: RoiMaskLoss,
        dataset: PhotoDataset,
        optim: OptimOptions,
        loop: LoopOptions,
        *,
        peak_lr: float,
        detector_weight: float | None = None,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.features, self.loss = features, loss.to(device)
        self.dataset, self.optim, self.loop = dataset, optim, loop
        self.detector_weight, self.device, self.processes = detector_weight, device, processes
        self.photos_a_batch = loop.batch_size * processes.count
        self.optimizer = make_optimizer(model, optim, peak_lr)
        self.precision = Precision(optim.precision, device)
        per_epoch = math.ceil(len(dataset) / self.photos_a_batch / optim.gradient_accumulation)
        self.schedule = Schedule(
            optim.scheduler, peak_lr, per_epoch, loop.epochs, optim.min_lr,
            optim.lr_decay_epochs, optim.lr_decay_rate, optim.warmup_steps,
        )  # fmt: skip
        self.average = MovingAverage(model, optim.ema) if optim.ema else None
        self._batches = PresentBatches()
        self._loader: DataLoader[Batch] | None = None
        self.bad_steps = BadSteps(peak_lr)
        self.pace, self.stopwatch = Pace(loop.epochs), Stopwatch(loop.num_workers)
        detected = () if detector_weight is None else ("box", "score")
        self.cost_names = ("total", *COSTS, *detected)

    def plan(self) -> str:
        """What is trained, on how many photos, at which rate; two lines."""
        accumulated = self.optim.gradient_accumulation
        weights = sum(p.numel() for p in self.model.parameters())
        return (
            f"{weights / 1e6:.2f} M parameters, {len(self.dataset)} photos, "
            f"lr {self.schedule.peak:.2g} ({self.optim.scheduler}), {self.device}\n"
            f"{self.photos_a_batch * accumulated} photos a step: --batch_size "
            f"{self.loop.batch_size}, {self.processes.count} processes, {accumulated} batches "
            "accumulated"
        )

    def train_epoch(
        self,
        progress: Progress,
        stop: StopRequest,
        on_step: Callable[[dict[str, float], int], None],
    ) -> Means:
        """Train the rest of the present epoch, or until ``stop`` is set; return its mean losses.

        Args:
            progress: where the run stands; its epoch, batches and steps are counted on.
            stop: checked after every step.
            on_step: called with the scalars and the number of each step.
        """
        loader, means = self.loader(progress), Means()
        self.model.train()
        display = EpochDisplay(
            self.pace, progress.epoch, len(loader) + progress.batches, progress.batches,
            self.processes.is_first,
        )  # fmt: skip
        batches = self.stopwatch.waits(loader)
        with display:
            for parts in _in_groups(batches, self.optim.gradient_accumulation):
                scalars = self.train_step(parts, means, progress)
                progress.batches += len(parts)
                speed = display.update(len(parts), means, scalars["lr"])
                on_step({**scalars, "images_per_s": speed}, progress.step)
                self._advise()
                if self.processes.any(stop):
                    return means
        self._advise(at_end=True)
        progress.epoch, progress.batches = progress.epoch + 1, 0
        return means

    def _advise(self, *, at_end: bool = False) -> None:
        if self.processes.is_first and "extractor" not in self.model:
            self.stopwatch.advise(is_cached=not self.dataset.with_images, at_end=at_end)

    def loader(self, progress: Progress) -> DataLoader[Batch]:
        """The batches of the present epoch still to come after ``progress``; always one loader."""
        loop = self.loop
        self._batches.present = EpochBatches(
            len(self.dataset), loop.batch_size, loop.seed, progress.epoch, progress.batches,
            self.processes.rank, self.processes.count,
        )  # fmt: skip
        if self._loader is None:
            self._loader = photo_loader(self.dataset, self._batches, collate, loop.num_workers)
        return self._loader

    def learning_rate(self, progress: Progress) -> float:
        """The rate of the next step after ``progress``.

        Counted by epochs: a resumed run may have more photos an epoch than the one before.
        """
        done = progress.batches // self.optim.gradient_accumulation
        return self.schedule.at(progress.epoch * self.schedule.steps_per_epoch + done)

    def train_step(self, parts: list[Batch], means: Means, progress: Progress) -> dict[str, float]:
        """One optimizer step on the batches of ``parts`` together; returns its scalars."""
        lr = self.learning_rate(progress)
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
        norm = self._update(progress.step, total, parts, statistics) if rois else 0.0
        progress.step += 1
        if not rois or not torch.isfinite(total["total"]):
            return {"lr": lr}
        means.add(total, rois)
        scalars = {"loss" if k == "total" else k: float(v) for k, v in total.items()}
        scalars |= self.precision.scalars()
        return {**scalars, **({} if math.isnan(norm) else {"gradient_norm": norm}), "lr": lr}

    def _whole_step(self, parts: list[Batch]) -> tuple[Tensor, int, int]:
        """Normalizers float32 [2], ROIs and photos of a step, in all processes together."""
        own = torch.zeros(4, device=self.device)
        for part in parts:
            own[:2] += self.loss.normalizers(part.targets.to(self.device))
            own[2:] += own.new_tensor([len(part.rois), len(part.samples)])
        whole = self.processes.sum(own)
        return whole[:2], int(whole[2]), int(whole[3])

    def costs(self, batch: Batch, norms: Tensor, share: float) -> Costs:
        """The loss of one batch of a step and its terms.

        Args:
            batch: the batch.
            norms: normalizers of the mask loss over the whole step, float32 [2].
            share: fraction of the step's photos that are in this batch.
        """
        logits, candidates = self.forward(batch)
        masks = self.loss(logits, batch.targets.to(self.device), norms)
        costs: Costs = dict(masks)
        if candidates is not None and self.detector_weight is not None:
            people = [sample.people for sample in batch.samples if sample.people is not None]
            found = detector_loss(candidates, people)
            costs["total"] = masks["total"] + self.detector_weight * share * found.total
            costs |= {"box": share * found.box, "score": share * found.score}
        return costs

    def forward(self, batch: Batch) -> tuple[Tensor, Candidates | None]:
        """Logits float [N, 3, M, M] of a batch's ROIs, and the detector's output if trained.

        Computed in the precision of the options.
        """
        candidates: Candidates | None = None
        with self.precision.autocast():
            if "extractor" in self.model:
                images = network_images(batch, self.device)
                maps, candidates = self.model["extractor"](images)
            else:
                maps = self.stopwatch.extracts(lambda: self.features(batch))
                maps = [m.to(self.device) for m in maps]
                maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
            logits: Tensor = self.model["head"](maps, batch.rois.to(self.device))
        return logits, candidates

    def _update(
        self, number: int, total: Costs, parts: list[Batch], statistics: list[Tensor]
    ) -> float:
        """Step along the gradient and return its norm; NaN if the step was skipped."""
        norm, is_overflow = math.nan, False
        if torch.isfinite(total["total"]):
            limit = self.optim.gradient_clip or math.inf
            norm, is_overflow = self.precision.step(self.optimizer, self.model.parameters(), limit)
        if math.isfinite(norm):
            self.bad_steps.forget()
            self.processes.average_statistics(self.model)
            if self.average is not None:
                self.average.update(self.model)
            return norm
        # A batch norm has already averaged the batch in, and a NaN would stay in it for ever.
        for buffer, before in zip(self.model.buffers(), statistics, strict=True):
            buffer.copy_(before)
        if is_overflow:
            LOG.info(
                "step %d left out: its float16 gradients overflow, the loss scale is halved", number
            )
        else:
            photos = [sample.photo_index for part in parts for sample in part.samples]
            names = [self.dataset.photos[index].file_name for index in photos]
            self.bad_steps.note(number, {k: float(v) for k, v in total.items()}, names)
        return math.nan

    def averaged(self) -> AbstractContextManager[None]:
        """The model with the moving average of its weights, if there is one, within the block."""
        return self.average.applied_to(self.model) if self.average else nullcontext()

    def state(self) -> dict[str, Any]:
        """All that resuming needs but the progress, as tensors and plain values."""
        return {
            "weights": self.model.state_dict(),
            "ema": self.average.weights if self.average else None,
            "ema_step": self.average.step if self.average else 0,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.state(),
            "photos_a_batch": self.photos_a_batch,
            "torch_rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned; schedule, decay and momentum stay as they are."""
        self.model.load_state_dict(state["weights"])
        asked = [
            {k: v for k, v in group.items() if k not in ("params", "lr")}
            for group in self.optimizer.param_groups
        ]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, asked, strict=True):
            group.update(own)
        self.precision.restore(state.get("scaler"))
        torch.set_rng_state(state["torch_rng"])
        if self.average is None:
            return
        if state["ema"] is None:  # switched on by this run
            self.average = MovingAverage(self.model, self.optim.ema)
        else:
            self.average.restore(state["ema"], state["ema_step"])


def _in_groups(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    while group := list(islice(batches, count)):
        yield group

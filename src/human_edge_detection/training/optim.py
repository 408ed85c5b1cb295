"""How weights move: optimizer, learning rate, moving average, and the precision of a step."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError
from human_edge_detection.modeling.person_extractor import PersonExtractor
from human_edge_detection.training.options import OptimOptions


def make_optimizer(model: nn.Module, options: OptimOptions, lr: float) -> torch.optim.Optimizer:
    """The optimizer of the options; norms, biases and the position bias are not decayed.

    Each parameter group has an ``lr_factor``: its rate as a multiple of the schedule's. What was
    trained elsewhere before has a learning rate of its own.
    """
    trained_before = tuple(
        f"{owner}.{part}."
        for owner, module in model.named_modules()
        if isinstance(module, PersonExtractor)
        for part in module.pretrained
    )
    groups: list[dict[str, Any]] = []
    for is_backbone, factor in ((False, 1.0), (True, options.backbone_lr / lr)):
        own = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name.startswith(trained_before) == is_backbone
        ]
        decayed = [p for p in own if p.ndim == 4 and p.shape[0] > 1]
        chosen = {id(p) for p in decayed}
        plain = [p for p in own if id(p) not in chosen]
        if own:
            groups += [
                {"params": decayed, "weight_decay": options.weight_decay, "lr_factor": factor},
                {"params": plain, "weight_decay": 0.0, "lr_factor": factor},
            ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=options.momentum)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=lr)


@dataclass(frozen=True)
class Schedule:
    """A learning rate for every step of a run, a function of the step so that it resumes exactly.

    Attributes:
        kind: "cosine", "step", "exponential" or "none".
        peak: learning rate after the warm-up.
        steps_per_epoch: optimizer steps in one epoch.
        epochs: epochs of the whole run.
        floor: where "cosine" ends.
        decay_epochs: epochs between the drops of "step".
        decay_rate: factor of each drop of "step", and of each epoch of "exponential".
        warmup_steps: steps over which the rate rises linearly, at most a tenth of the run.
    """

    kind: str
    peak: float
    steps_per_epoch: int
    epochs: int
    floor: float = 0.0
    decay_epochs: int = 10
    decay_rate: float = 0.1
    warmup_steps: int = 0

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        total = max(1, self.steps_per_epoch * self.epochs)
        warmup = min(self.warmup_steps, total // 10)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        epoch = step // max(1, self.steps_per_epoch)
        if self.kind == "cosine":
            done = min(1.0, (step - warmup) / max(1, total - warmup))
            return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * done)) / 2
        if self.kind == "step":
            return self.peak * float(self.decay_rate ** (epoch // max(1, self.decay_epochs)))
        if self.kind == "exponential":
            return self.peak * float(self.decay_rate**epoch)
        return self.peak


class MovingAverage:
    """Averages the weights (and the batch norm's statistics) after every step.

    The decay warms up as ``min(decay, (1 + step) / (10 + step))``, so that the first weights soon
    lose their influence.

    Args:
        model: the model whose weights are averaged.
        decay: weight of the past in each update.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.step = 0
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Go on from the averages of a checkpoint.

        Raises:
            ValueError: if they are of another model.
        """
        own = self.weights
        found = {name: value.to(own[name].device) for name, value in weights.items()}
        if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError("its moving averages are of another model")
        self.weights, self.step = found, int(step)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average the present weights of the model in."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for name, value in model.state_dict().items():
            mean = self.weights[name]
            if mean.dtype.is_floating_point:
                mean.lerp_(value.to(mean.dtype), 1 - decay)
            else:
                mean.copy_(value)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """The model with the averaged weights, within the block."""
        present: dict[str, Tensor] = copy.deepcopy(model.state_dict())
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(present)


LOG = logging.getLogger(__name__)
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_BAD_STEPS = 10
"""Steps in a row that are not finite before the run is stopped."""


class StepResult(NamedTuple):
    """The outcome of an optimizer step.

    Attributes:
        norm: the gradient's norm before clipping; not finite if the step was skipped.
        is_overflow: whether a smaller loss scale mends it, so that nothing is wrong.
    """

    norm: float
    is_overflow: bool


class Precision:
    """The type that a step is computed in: float32, bfloat16 or float16; weights stay float32.

    float16 has no values below 6e-8, where gradients lie. So the loss is multiplied by a scale
    before the backward pass and the gradients are divided by it after; a scale that makes them
    overflow is halved and the step is skipped. In several processes the gradients are summed
    before they are tested, so that all processes skip the same steps.

    ``name`` is ``float32``, or a key of ``DTYPES``.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.device, self.dtype = device, DTYPES.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "float16")
        # The scale is made with the first loss; a process whose photos have no ROI would have none.
        self.scaler.scale(torch.zeros((), device=device))

    def autocast(self) -> torch.autocast:
        """The context in which the forward pass runs."""
        dtype = self.dtype or torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the scaled loss' gradients to those of the weights."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(
        self, optimizer: torch.optim.Optimizer, weights: Iterable[Tensor], limit: float
    ) -> StepResult:
        """One step along the scaled gradients, if they are finite, cut to the norm ``limit``."""
        self.scaler.unscale_(optimizer)
        norm = float(nn.utils.clip_grad_norm_(weights, limit))
        before = self.scaler.get_scale()
        if math.isfinite(norm):
            self.scaler.step(optimizer)
        self.scaler.update()
        # Below a scale of 1 it is the gradient itself that float16 cannot hold.
        is_overflow = before > 1 and self.scaler.get_scale() < before
        return StepResult(norm, is_overflow)

    def scalars(self) -> dict[str, float]:
        """The loss scale, for the log, if there is one."""
        return {"loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {}

    def state(self) -> dict[str, Any]:
        """The scale and its growth, as plain values; empty if there is none."""
        return self.scaler.state_dict()

    def restore(self, state: dict[str, Any] | None) -> None:
        """Take over what :meth:`state` returned; None or empty if the checkpoint has none."""
        if not self.scaler.is_enabled():
            return
        if state:
            self.scaler.load_state_dict(state)
        else:
            LOG.warning(
                "the checkpoint lacks a loss scale, as it was not trained in float16: "
                "it starts anew at %g",
                self.scaler.get_scale(),
            )


class BadSteps:
    """Counts the steps skipped because a loss or a gradient was not finite, and stops the run.

    Attributes:
        in_a_row: those since the last good step.
    """

    def __init__(self, lr: float) -> None:
        """Count for a run with this peak learning rate, which the advice names."""
        self.lr = lr
        self.in_a_row = 0

    def forget(self) -> None:
        """Count anew, after a good step."""
        self.in_a_row = 0

    def note(self, step: int, costs: Mapping[str, float], names: Sequence[str]) -> None:
        """Count and report a bad step with its loss and terms and the names of its photos.

        Raises:
            InputError: if there have been too many in a row, with advice.
        """
        self.in_a_row += 1
        LOG.warning("step %d skipped, not finite: %s on %s", step, dict(costs), list(names))
        if self.in_a_row >= MAX_BAD_STEPS:
            raise InputError(
                f"{MAX_BAD_STEPS} steps in a row were not finite: lower --lr {self.lr}, set "
                "--gradient_clip 1, use --amp_dtype bfloat16 instead of float16, or leave out --amp"
            )

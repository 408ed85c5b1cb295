"""How weights move: the optimizer, its learning rate, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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

"""Mixed precision with its loss scale, and the steps that are skipped as they are not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from human_edge_detection.core.errors import InputError

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

"""The loss of a batch of ROIs: cross-entropy and Dice on logits, always in float32.

A new term is one function and one row of :data:`COSTS`, and its weight in the training options.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.core.structures import IGNORE_INDEX, NOT_TARGET_INDEX, MaskClass


def cross_entropy_sum(logits: Tensor, targets: Tensor, class_weights: Tensor) -> Tensor:
    """Summed negative log-likelihood of the known pixels, each weighted by its class, scalar.

    A pixel labelled ``NOT_TARGET_INDEX`` costs ``-log(1 - p(target))`` at the background's
    weight; one labelled ``IGNORE_INDEX`` costs nothing.

    Args:
        logits: float32 [N, 3, M, M].
        targets: uint8 [N, M, M].
        class_weights: float32 [3].
    """
    log_probs = functional.log_softmax(logits, dim=1)
    others = log_probs[:, [MaskClass.BACKGROUND, MaskClass.NON_TARGET]]
    partial = targets == NOT_TARGET_INDEX
    exact = -log_probs.gather(1, _labels(targets)[:, None])[:, 0]
    cost = torch.where(partial, -torch.logsumexp(others, dim=1), exact)
    return (cost * pixel_weights(targets, class_weights)).sum()


def pixel_weights(targets: Tensor, class_weights: Tensor) -> Tensor:
    """The weight float32 [N, M, M] of each pixel in the cross-entropy, 0 where ignored."""
    return class_weights[_labels(targets)] * (targets != IGNORE_INDEX)


def _labels(targets: Tensor) -> Tensor:
    background = int(MaskClass.BACKGROUND)
    return torch.where(targets < len(MaskClass), targets, background).long()


def dice_sum(
    logits: Tensor, targets: Tensor, classes: Sequence[int] = (1,), smooth: float = 1.0
) -> Tensor:
    """1 - Dice, summed over ROIs and averaged over ``classes``, scalar; finite for empty targets.

    Dice is ``(2 sum(p t) + s) / (sum(p) + sum(t) + s)`` over a ROI's known pixels (Milletari et
    al., V-Net, 2016, without the squares).

    Args:
        logits: float32 [N, 3, M, M].
        targets: uint8 [N, M, M].
        classes: classes to look at.
        smooth: the ``s`` above, in pixels.
    """
    probs = logits.softmax(dim=1)
    total = logits.new_zeros(())
    for index in classes:
        known = targets != IGNORE_INDEX
        if index != MaskClass.TARGET:
            known = known & (targets != NOT_TARGET_INDEX)
        wanted = ((targets == index) & known).float().flatten(1)
        given = (probs[:, index] * known).flatten(1)
        shared = (wanted * given).sum(dim=1)
        dice = (2 * shared + smooth) / (wanted.sum(dim=1) + given.sum(dim=1) + smooth)
        total = total + (1 - dice).sum() / len(classes)
    return total


class MaskCost(NamedTuple):
    """A term of the loss.

    Attributes:
        total: of logits float32 [N, 3, M, M], targets uint8 [N, M, M] and the loss with its
            settings, the term summed over the ROIs, scalar.
        norm: what the sum is divided by: ``PIXELS`` or ``ROIS``.
    """

    total: Callable[[Tensor, Tensor, RoiMaskLoss], Tensor]
    norm: int


PIXELS, ROIS = 0, 1
"""Places in :meth:`RoiMaskLoss.normalizers`."""


class RoiMaskLoss(nn.Module):
    """The weighted sum of the terms in :data:`COSTS`.

    Class weights w alone would move what the logits mean: the posterior that minimizes a weighted
    cross-entropy is proportional to w·p. Adding log w to the logits inside the cross-entropy takes
    the shift back (logit adjustment, Menon et al. 2021), so rare classes count more in training
    while the softmax of the bare logits stays a calibrated p.

    Args:
        class_weights: cross-entropy weights of the three classes.
        weights: factor of each term by its name; 1 for those that are not named.
        dice_classes: classes that the Dice loss looks at.
    """

    class_weights: Tensor

    def __init__(
        self,
        class_weights: Sequence[float] = (1.0, 1.0, 1.0),
        weights: Mapping[str, float] | None = None,
        dice_classes: Sequence[int] = (1,),
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", torch.tensor(list(class_weights)).float())
        self.weights = {**dict.fromkeys(COSTS, 1.0), **(weights or {})}
        self.dice_classes = tuple(dice_classes)

    def normalizers(self, targets: Tensor) -> Tensor:
        """What the sums are divided by, float32 [2]: summed pixel weights, number of ROIs.

        They add up over the parts of a batch, so a batch trained in parts costs the same.
        """
        weight = pixel_weights(targets, self.class_weights).sum()
        return torch.stack([weight, weight.new_tensor(float(len(targets)))]).clamp_min(1e-6)

    def forward(
        self, logits: Tensor, targets: Tensor, normalizers: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The loss as ``total`` and its unweighted terms by their names, scalars.

        Args:
            logits: float [N, 3, M, M] in any precision.
            targets: uint8 [N, M, M], labels 0/1/2, ``NOT_TARGET_INDEX`` or ``IGNORE_INDEX``.
            normalizers: those of the whole batch, where these ROIs are only some of its.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            norms = self.normalizers(targets) if normalizers is None else normalizers
            terms = {
                name: cost.total(logits, targets, self) / norms[cost.norm]
                for name, cost in COSTS.items()
            }
            weighted = [self.weights[name] * term for name, term in terms.items()]
            return {"total": functools.reduce(torch.add, weighted), **terms}


def _cross_entropy(logits: Tensor, targets: Tensor, loss: RoiMaskLoss) -> Tensor:
    shifted = logits + loss.class_weights.log()[:, None, None]
    return cross_entropy_sum(shifted, targets, loss.class_weights)


def _dice(logits: Tensor, targets: Tensor, loss: RoiMaskLoss) -> Tensor:
    return dice_sum(logits, targets, loss.dice_classes)


COSTS = {"ce": MaskCost(_cross_entropy, PIXELS), "dice": MaskCost(_dice, ROIS)}
"""The terms by the names that training logs; ``--NAME_weight`` of training is a term's factor."""

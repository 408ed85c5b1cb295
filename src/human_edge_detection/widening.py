"""A wider lite head that begins where a narrow one ended: more channels, the same answers.

The old channels stay and do not see the new ones, whose first effect is nothing: the weights that
lead from new channels to old ones are zero, all other new weights are fresh. Training then moves
both. (Net2Net, Chen et al. 2016, reaches the same with copied channels and some noise.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from human_edge_detection.lite_head import LiteHead
from human_edge_detection.trained_weights import TrainedWeights

PREFIX = "head."


def widened(start: TrainedWeights, head: nn.Module) -> TrainedWeights:
    """The same weights, those of a lite head grown to the widths of ``head``.

    What is no lite head, or not narrower in any of its three widths, comes back as it is.

    Args:
        start: trained weights.
        head: the head to fill, whose fresh weights the new channels take.
    """
    if start.spec.head != "lite" or not isinstance(head, LiteHead):
        return start
    fresh = head.state_dict()
    old = {k.removeprefix(PREFIX): v for k, v in start.weights.items() if k.startswith(PREFIX)}
    width = len(old["down.0.weight"][0])
    detail_width = len(old["refine.0.weight"])
    if fresh.keys() != old.keys() or not _is_wider(fresh, old):
        return start
    joined = {  # inputs of two maps side by side: where the second one's begin
        "fuse.0.weight": (width, len(fresh["down.0.weight"][0])),
        "refine.0.weight": (detail_width, len(fresh["refine.0.weight"])),
    }
    grown = {
        PREFIX + name: _grown(old[name], fresh[name], joined.get(name, (0, 0))) for name in fresh
    }
    return replace(start, weights={**start.weights, **grown})


def _is_wider(fresh: dict[str, Tensor], old: dict[str, Tensor]) -> bool:
    """Whether every shape is at least as large, one is larger, and the bins are as many."""
    pairs = [(fresh[name].shape, old[name].shape) for name in fresh]
    fits = all(len(a) == len(b) and _covers(a, b) for a, b in pairs)
    same_bins = fresh["position"].shape[2:] == old["position"].shape[2:]
    return fits and same_bins and any(a != b for a, b in pairs)


def _covers(large: Sequence[int], small: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(large, small, strict=True))


def _grown(old: Tensor, fresh: Tensor, second: tuple[int, int]) -> Tensor:
    """A tensor of ``fresh``'s shape with the old one inside, and zeros from new inputs to old rows.

    Args:
        old: the narrow one.
        fresh: the wide one, untrained.
        second: old and new index of the first input channel of a second map, (0, 0) for none.
    """
    if old.ndim == 0:
        return old
    grown = fresh.detach().cpu().clone()
    if old.ndim == 1:
        grown[: len(old)] = old
        return grown
    columns = torch.arange(old.shape[1])
    columns[second[0] :] += second[1] - second[0]
    grown[: len(old)] = 0
    grown[: len(old), columns] = old
    return grown

"""A larger lite head that begins where a smaller one ended: the same answers, more to learn with.

More channels: the old ones stay and do not see the new ones, whose first effect is nothing: the
weights that lead from new channels to old ones are zero, all other new weights are fresh. Training
then moves both. (Net2Net, Chen et al. 2016, reaches the same with copied channels and some noise.)

A trunk for small ROIs: a copy of the first one, its positions averaged over pairs of bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from human_edge_detection.modeling.lite_head import LiteHead
from human_edge_detection.modeling.weights import TrainedWeights

PREFIX = "head."
TRUNK, SMALL = "trunk.", "small."


def widened(start: TrainedWeights, head: nn.Module) -> TrainedWeights:
    """The same weights, those of a lite head grown to the widths and trunks of ``head``.

    What is no lite head, or already as large, comes back as it is.

    Args:
        start: trained weights.
        head: the head to fill, whose fresh weights the new channels take.
    """
    if start.spec.head != "lite" or not isinstance(head, LiteHead):
        return start
    fresh = head.state_dict()
    own = {k.removeprefix(PREFIX): v for k, v in start.weights.items() if k.startswith(PREFIX)}
    old = dict(own)
    if head.small is not None and not start.spec.small_branch:
        old |= _small_trunk(old)
    if fresh.keys() != old.keys() or not _covers_all(fresh, old):
        return start
    width = len(old[f"{TRUNK}down.0.weight"][0])
    detail_width = len(old[f"{TRUNK}refine.0.weight"])
    joined = {  # inputs of two maps side by side: where the second one's begin
        "fuse.0.weight": (width, len(fresh[f"{TRUNK}down.0.weight"][0])),
        "refine.0.weight": (detail_width, len(fresh[f"{TRUNK}refine.0.weight"])),
    }
    grown = {
        PREFIX + name: _grown(old[name], fresh[name], joined.get(name.split(".", 1)[1], (0, 0)))
        if old[name].shape != fresh[name].shape
        else old[name]
        for name in fresh
    }
    if all(name in own and grown[PREFIX + name] is own[name] for name in fresh):
        return start
    return replace(start, weights={**start.weights, **grown})


def _small_trunk(old: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first trunk's weights as the second one's."""
    copied = {
        SMALL + name.removeprefix(TRUNK): value.clone()
        for name, value in old.items()
        if name.startswith(TRUNK)
    }
    copied[f"{SMALL}position"] = functional.avg_pool2d(old[f"{TRUNK}position"], 2)
    return copied


def _covers_all(fresh: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> bool:
    """Whether every shape is at least as large, and the bins are as many."""
    pairs = [(fresh[name].shape, old[name].shape) for name in fresh]
    fits = all(len(a) == len(b) and _covers(a, b) for a, b in pairs)
    position = f"{TRUNK}position"
    return fits and fresh[position].shape[2:] == old[position].shape[2:]


def _covers(large: Sequence[int], small: Sequence[int]) -> bool:
    return all(a >= b for a, b in zip(large, small, strict=True))


def _grown(old: Tensor, fresh: Tensor, second: tuple[int, int]) -> Tensor:
    """A tensor of ``fresh``'s shape with the old one inside, and zeros from new inputs to old rows.

    Args:
        old: the narrow one.
        fresh: the wide one, untrained.
        second: old and new index of the first input channel of a second map, (0, 0) for none.
    """
    grown = fresh.detach().cpu().clone()
    if old.ndim == 1:
        grown[: len(old)] = old
        return grown
    columns = torch.arange(old.shape[1])
    columns[second[0] :] += second[1] - second[0]
    grown[: len(old)] = 0
    grown[: len(old), columns] = old
    return grown

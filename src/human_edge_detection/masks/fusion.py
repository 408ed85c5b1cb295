"""The label map of an image: from every ROI's probabilities to one owner per pixel.

A pixel that a single ROI covers needs no rule: it belongs to the ROI's person where the target
probability, interpolated as log-odds, reaches the threshold. So a person apart from the others has
the same mask under every rule.

Where ROIs overlap a rule decides. Of the ROIs *i* that cover a pixel, with target probability *tᵢ*
and non-target probability *nᵢ*:

- ``arbitrate``: the highest log-odds of *tᵢ*, raised by neighbours whose non-target probability is
  high; the formula is in ``arbitration``;
- ``max``: the highest *tᵢ*, if it reaches the threshold;
- ``mean``: the highest mean of *tᵢ* and the others' *nⱼ*, if it reaches the threshold; a ROI with
  *nᵢ* > *tᵢ* owns nothing that others cover;
- ``priority``: the highest score among those whose *tᵢ* reaches the threshold;
- ``independent``: none. Masks may share pixels; a label map shows the owners under ``max``.

A new rule is a class like ``Arbitration``, or a claim for ``PlainRule``, and a row in ``RULES``; to
offer it by name to users, add that to ``masks.FUSE_RULES``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import Bounds, FloatArray, LabelMap, MaskClass
from human_edge_detection.masks.arbitration import Arbitration, Band, Crowd
from human_edge_detection.masks.paste import paste_at, paste_masks
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, cut, log_odds

BAND_PIXELS = 1 << 18
"""Pixels fused at a time; bounds the working memory for any image and crowd."""


PAIRS_AT_ONCE = 1 << 22
"""Pairs of ROIs compared at a time; bounds the working memory for any crowd."""


class Rule(Protocol):
    """Decides the owners of a crowd's pixels, one band of the image at a time."""

    def settle(self, band: Band, threshold: float, labels: LabelMap) -> None:
        """Write the owners of a band's pixels into the labels int32 [H, W] of the whole image."""


class BandSums:
    """Sums and maxima over the ROIs of a band that plain rules need; arrays [h, w].

    Attributes:
        owner: int32, label of the strongest claim; 0 where no ROI lies.
        strength: float32, that claim.
        covering: int32, number of ROIs.
        own: float32, log-odds of *t* of the last ROI.
        others: float32, sum of *n*.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.owner = np.zeros(shape, np.int32)
        self.strength = np.full(shape, -np.inf, np.float32)
        self.covering = np.zeros(shape, np.int32)
        self.own = np.zeros(shape, np.float32)
        self.others = np.zeros(shape, np.float32)


Claim = Callable[[FloatArray, FloatArray, FloatArray, float], FloatArray]
"""A ROI's claim [h, w] from its *t*, its *n*, the log-odds of *t*, and those of the threshold."""

Reaches = Callable[[BandSums, float], NDArray[np.bool_]]
"""Whether the strongest claim is enough for the threshold (a probability), bool [h, w]."""


class PlainRule:
    """A rule that gives a pixel to the highest claim, if it is enough; simple rather than fast."""

    def __init__(self, crowd: Crowd, claim: Claim, reaches: Reaches) -> None:
        self._crowd, self._claim, self._reaches = crowd, claim, reaches

    def settle(self, band: Band, threshold: float, labels: LabelMap) -> None:
        """Write the owners of a band's pixels into the labels int32 [H, W] of the whole image."""
        (left, top, right, bottom), rows, windows = band
        crowd, sums = self._crowd, BandSums((bottom - top, right - left))
        for person, (x1, y1, x2, y2) in zip(crowd.members[rows], windows.tolist(), strict=True):
            planes = np.asarray(crowd.probs[person, MaskClass.TARGET :], np.float32)
            planes = np.concatenate([planes, log_odds(planes[:1])])
            target, other, own = paste_at(planes, crowd.rois_xyxy[person], (x1, y1, x2, y2))
            here = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
            claim = self._claim(target, other, own, cut(threshold))
            wins = claim > sums.strength[here]  # of equal claims the first wins
            sums.owner[here][wins] = person + 1
            sums.strength[here][wins] = claim[wins]
            sums.covering[here] += 1
            sums.own[here] = own
            sums.others[here] += other
        reached = self._reaches(sums, threshold)
        reached = np.where(sums.covering == 1, sums.own >= cut(threshold), reached)
        labels[top:bottom, left:right] = np.where(reached, sums.owner, 0)


def _own_odds(target: FloatArray, other: FloatArray, own: FloatArray, least: float) -> FloatArray:
    return own


def _able_first(target: FloatArray, other: FloatArray, own: FloatArray, least: float) -> FloatArray:
    # ROIs that reach the threshold claim alike, so the first, of the highest score, wins.
    return np.where(own >= least, np.float32(np.inf), own)


def _margin(target: FloatArray, other: FloatArray, own: FloatArray, least: float) -> FloatArray:
    return target - other


def _odds_reach(sums: BandSums, threshold: float) -> NDArray[np.bool_]:
    return np.asarray(sums.strength >= cut(threshold))


def _mean_reaches(sums: BandSums, threshold: float) -> NDArray[np.bool_]:
    least = min(max(threshold, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    # tᵢ - nᵢ + Σ n is tᵢ + Σⱼ≠ᵢ nⱼ
    mean = (sums.strength + sums.others) / np.maximum(sums.covering, 1)
    return np.asarray((mean >= least) & (sums.strength >= 0))


RULES: dict[str, Callable[[Crowd], Rule]] = {
    "arbitrate": Arbitration,
    "max": partial(PlainRule, claim=_own_odds, reaches=_odds_reach),
    "mean": partial(PlainRule, claim=_margin, reaches=_mean_reaches),
    "priority": partial(PlainRule, claim=_able_first, reaches=_odds_reach),
    "independent": partial(PlainRule, claim=_own_odds, reaches=_odds_reach),
}
"""Every rule by its name."""


def fuse(
    probs: NDArray[np.floating],
    rois_xyxy: FloatArray,
    scores: FloatArray,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
    rule: str = "arbitrate",
) -> LabelMap:
    """The owner of every pixel, int32 [H, W]: 0 background, ``i + 1`` person ``i``.

    The result does not depend on the order of the people. Besides the result it needs the memory
    of one band and of the people's bins.

    Args:
        probs: [N, 3, M, M] probabilities of the classes of ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers.
        scores: float32 [N] in 0…1, the probability that each person exists. ``arbitrate`` weighs by
            them, ``priority`` sorts by them, the other rules use them for exact ties only.
        size_hw: the image's height and width.
        threshold: least probability of ownership, as the rule defines it, cut to 0.001 … 0.999.
        rule: one of ``RULES``.

    Raises:
        ValueError: if there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, but got {rule!r}")
    labels = np.zeros(size_hw, np.int32)
    if len(probs) == 0:
        return labels
    windows = geometry.all_roi_bounds(rois_xyxy, size_hw)
    contested = _contested(windows)
    if contested.any():
        order = _order(probs, rois_xyxy, scores)
        members = order[contested[order]]
        judge = RULES[rule](Crowd(members, probs, rois_xyxy, windows, scores))
        for bounds in _bands(windows[members]):
            inside = _inside(windows[members], bounds)
            rows = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
            judge.settle(Band(bounds, rows, inside[rows]), threshold, labels)
    alone = np.flatnonzero(~contested)
    own = paste_masks(probs[alone, MaskClass.TARGET], rois_xyxy[alone], windows[alone], threshold)
    for person, mask in zip(alone.tolist(), own, strict=True):
        x1, y1, x2, y2 = windows[person].tolist()
        np.multiply(mask, person + 1, out=labels[y1:y2, x1:x2], dtype=np.int32)
    return labels


def _inside(bounds: NDArray[np.int64], band: Bounds) -> NDArray[np.int64]:
    """Each window [N, 4] cut to a band; reversed where they share nothing."""
    low, high = np.maximum(bounds[:, :2], band[:2]), np.minimum(bounds[:, 2:], band[2:])
    return np.concatenate([low, high], axis=1)


def _contested(bounds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each window [N, 4] shares a pixel with another, bool [N]."""
    if len(bounds) == 1:
        return np.zeros(1, np.bool_)
    x1, y1, x2, y2 = bounds.T
    contested = np.zeros(len(bounds), np.bool_)
    step = max(1, PAIRS_AT_ONCE // max(1, len(bounds)))
    for first in range(0, len(bounds), step):
        rows = slice(first, first + step)
        shared = np.minimum.outer(x2[rows], x2) > np.maximum.outer(x1[rows], x1)
        shared &= np.minimum.outer(y2[rows], y2) > np.maximum.outer(y1[rows], y1)
        contested[rows] = shared.sum(axis=1) - shared.diagonal(first) > 0
    return contested


def _order(
    probs: NDArray[np.floating], rois_xyxy: FloatArray, scores: FloatArray
) -> NDArray[np.int64]:
    """Rows of the people by falling score; ties by their boxes and masks, whatever their order.

    Sums of floats depend on the order of their terms, so it must come from the people themselves.
    """
    targets = probs[:, MaskClass.TARGET].sum(axis=(1, 2), dtype=np.float64)
    return np.lexsort([targets, *rois_xyxy.T, -scores])


def _bands(bounds: NDArray[np.int64]) -> list[Bounds]:
    """The crowd's part of the image in bands of at most ``BAND_PIXELS``, or of one row or column.

    It is divided along the axis where fewer people are cut: x for people who stand.
    """
    if len(bounds) == 0:
        return []
    low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    people = (bounds[:, 2:] - bounds[:, :2]).sum(axis=0)
    axis = int(np.argmin(people / (high - low)))
    length, depth = int((high - low)[axis]), int((high - low)[1 - axis])
    parts = -(-length // max(1, BAND_PIXELS // depth))
    cuts = [int(low[axis]) + length * part // parts for part in range(parts + 1)]
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    if axis == 0:
        return [(first, top, last, bottom) for first, last in pairwise(cuts)]
    return [(left, first, right, last) for first, last in pairwise(cuts)]

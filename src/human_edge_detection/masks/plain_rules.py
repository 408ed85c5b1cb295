"""The rules that ``arbitrate`` is compared with; what each of them means is told in ``masks``.

Written plainly, since nobody waits for them, but in the memory of one band of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import Bounds, FloatArray, LabelMap, MaskClass
from human_edge_detection.masks.paste import paste_at
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, cut, log_odds


@dataclass(frozen=True)
class PlainRule:
    """A rule, and the crowd that it is applied to.

    Attributes:
        rule: ``max``, ``priority``, ``mean``, ``product``, or ``independent``: here as ``max``.
        crowd: int [K], who of the N people, in the order in which their claims are heard.
        probs: [N, 3, M, M] probabilities.
        rois_xyxy: float32 [N, 4] source pixels, what the masks cover.
    """

    rule: str
    crowd: NDArray[np.integer]
    probs: NDArray[np.floating]
    rois_xyxy: FloatArray

    def settle(
        self,
        band: Bounds,
        rows: NDArray[np.integer],
        windows: NDArray[np.int64],
        threshold: float,
        labels: LabelMap,
    ) -> None:
        """Write the owners of a band's pixels; the arguments are those of ``Claims.settle``."""
        left, top, right, bottom = band
        sums = _Sums((bottom - top, right - left), self.rule, cut(threshold))
        for person, (x1, y1, x2, y2) in zip(self.crowd[rows], windows.tolist(), strict=True):
            words = np.asarray(self.probs[person, MaskClass.TARGET :], np.float32)
            words = np.concatenate([words, log_odds(words[:1])])
            target, other, own = paste_at(words, self.rois_xyxy[person], (x1, y1, x2, y2))
            here = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
            sums.add(person + 1, here, target, other, own)
        labels[top:bottom, left:right] = sums.owners(threshold)


class _Sums:
    """What the ROIs heard so far say about a band; every array is [h, w]."""

    def __init__(self, shape: tuple[int, int], rule: str, least: float) -> None:
        self.rule, self.least = rule, least
        self.owner = np.zeros(shape, np.int32)
        self.strength = np.full(shape, -np.inf, np.float32)
        self.covering = np.zeros(shape, np.int32)
        self.own = np.zeros(shape, np.float32)  # log-odds of the last ROI's t
        self.others = np.zeros(shape, np.float32)  # sum of n, or of t / n
        self.nobody = np.zeros(shape, np.float32)  # sum of log(b / n)

    def add(
        self,
        label: int,
        here: tuple[slice, slice],
        target: FloatArray,
        other: FloatArray,
        own: FloatArray,
    ) -> None:
        """Take in a ROI's t, n and log-odds of t; of equal claims the first one stands."""
        if self.rule == "mean":
            claim = target - other
            self.others[here] += other
        elif self.rule == "product":
            # A product over all ROIs but one is that over all, divided by that one's own factor.
            nobody = np.maximum(1 - target - other, LEAST_PROBABILITY)
            other = np.maximum(other, LEAST_PROBABILITY)
            claim = target / other
            self.others[here] += claim
            self.nobody[here] += np.log(nobody / other)
        elif self.rule == "priority":
            claim = np.where(own >= self.least, np.float32(np.inf), own)
        else:
            claim = own
        wins = claim > self.strength[here]
        self.owner[here][wins] = label
        self.strength[here][wins] = claim[wins]
        self.covering[here] += 1
        self.own[here] = own

    def owners(self, threshold: float) -> LabelMap:
        """The owner of every pixel, where he reaches the threshold; else 0."""
        lowest = min(max(threshold, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
        if self.rule == "mean":
            fused = (self.strength + self.others) / np.maximum(self.covering, 1)
            is_sure = (fused >= lowest) & (self.strength >= 0)
        elif self.rule == "product":
            with np.errstate(over="ignore"):  # infinitely sure that it is nobody's pixel: 0
                is_sure = self.strength / (1 + self.others + np.exp(self.nobody)) >= lowest
        else:
            is_sure = self.strength >= self.least
        is_sure = np.where(self.covering == 1, self.own >= self.least, is_sure)
        return np.where(is_sure, self.owner, 0)

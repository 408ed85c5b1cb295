"""What all ROIs together say about one band of an image, and who gets its pixels.

The rules are told in ``masks``. The work is a few dozen simple steps a pixel and ROI, so it is done
in place, in memory that is kept: with fresh arrays most of the time went into getting them. Where
an array is a window of a larger one OpenCV is two to three times as fast as NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.pasting import paste_at
from human_edge_detection.scratch import Scratch
from human_edge_detection.structures import FloatArray, MaskClass

LEAST_PROBABILITY = 1e-3
"""The least that a ROI's word counts as in a product, so that no single ROI has a veto."""

_MOST_OF_BOTH = np.array([1 - LEAST_PROBABILITY, np.inf], np.float32).reshape(2, 1, 1)

LabelMap = NDArray[np.int32]
Bounds = tuple[int, int, int, int]


_PLANES = (
    ("owner", np.int32, 0),
    ("strength", np.float32, -np.inf),
    ("target", np.float32, 0),
    ("covering", np.uint16, 0),
    ("others", np.float32, 0),
    ("nobody", np.float32, 0),
    ("ones", np.uint16, 1),
)
"""Name, dtype and first value of what is kept for each pixel."""


@dataclass
class Claims:
    """What the ROIs seen so far say about one band of the image; every array is [h, w].

    Attributes:
        band: the band's ``x1, y1, x2, y2``.
        rule: how words are put together.
        threshold: least probability of ownership.
        exists: float32 [N + 1], for each label the probability that the person exists.
        owner: label of the person with the strongest claim.
        strength: that claim's strength, by the rule's measure.
        target: that person's own target probability.
        covering: how many ROIs cover the pixel.
        others: sum over the ROIs of what the rule needs: log(1 - n), t / n, or n.
        nobody: sum of log(b / n).
        ones: 1 everywhere, what ``covering`` grows by.
        scratch: memory for the steps between.
    """

    band: Bounds
    rule: str
    threshold: float
    exists: FloatArray
    owner: LabelMap
    strength: FloatArray
    target: FloatArray
    covering: NDArray[np.uint16]
    others: FloatArray
    nobody: FloatArray
    ones: NDArray[np.uint16]
    scratch: Scratch

    @classmethod
    def over(
        cls, band: Bounds, rule: str, threshold: float, exists: FloatArray, scratch: Scratch
    ) -> Claims:
        """No claims yet; the arrays' memory is the scratch's."""
        shape = (band[3] - band[1], band[2] - band[0])
        planes = {}
        for name, dtype, value in _PLANES:
            planes[name] = scratch.array(name, shape, dtype)
            planes[name].fill(value)
        return cls(band, rule, threshold, exists, scratch=scratch, **planes)

    def add(
        self,
        person: int,
        probs: NDArray[np.floating],
        roi_xyxy: FloatArray,
        bounds: Bounds,
    ) -> None:
        """Take in what one ROI says; of equal claims the first one stands.

        Args:
            person: its person's number.
            probs: [3, M, M] probabilities.
            roi_xyxy: float32 [4] source pixels, what the mask covers.
            bounds: the ROI's pixels, some of them in the band.
        """
        left, top, right, bottom = self.band
        x1, y1 = max(bounds[0], left), max(bounds[1], top)
        x2, y2 = min(bounds[2], right), min(bounds[3], bottom)
        here = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        words = np.asarray(probs[MaskClass.TARGET :], np.float32)
        words = paste_at(words, roi_xyxy, (x1, y1, x2, y2), self.scratch)
        covering = self.covering[here]
        cv2.add(covering, self.ones[here], dst=covering)
        claim = self._weigh(words, here, float(self.exists[person + 1]))
        strongest = self.strength[here]
        shape = claim.shape
        wins = cv2.compare(claim, strongest, cv2.CMP_GT, dst=self._plane("wins", shape, np.uint8))
        cv2.max(claim, strongest, dst=strongest)
        label = self._plane("label", shape, np.int32)
        label.fill(person + 1)
        cv2.copyTo(label, wins, dst=self.owner[here])
        cv2.copyTo(words[0], wins, dst=self.target[here])

    def _weigh(self, words: FloatArray, here: tuple[slice, slice], exists: float) -> FloatArray:
        """How strong the person's claim is, the neighbours' words added to the sums.

        Of ``words``, its t and n float32 [2, h, w], the n is written over.
        """
        target: FloatArray = words[0]
        other: FloatArray = words[1]
        claim: FloatArray = self._plane("claim", target.shape)
        if self.rule in ("max", "independent"):
            return target
        if self.rule == "priority":
            np.greater_equal(target, self.threshold, out=claim)
            return claim
        if self.rule == "mean":
            cv2.accumulate(other, self.others[here])
            np.subtract(target, other, out=claim)
            return claim
        # A product over all ROIs but one is that over all, divided by that one's own factor: so
        # people can be ordered at once, and what they have in common is taken off at the end.
        if self.rule == "arbitrate":
            both: FloatArray = self._plane("both", words.shape)
            np.multiply(words, exists, out=both)
            sure: FloatArray = both[0]
            unseen: FloatArray = both[1]
            np.subtract(1, unseen, out=unseen)
            np.clip(both, LEAST_PROBABILITY, _MOST_OF_BOTH, out=both)
            np.subtract(1, sure, out=claim)
            sure /= claim
            np.log(both, out=both)
            cv2.accumulate(unseen, self.others[here])
            cv2.scaleAdd(unseen, 0.5, sure, dst=claim)
            return claim
        nobody: FloatArray = self._plane("nobody here", target.shape)
        np.subtract(1, target, out=nobody)
        nobody -= other
        np.clip(nobody, LEAST_PROBABILITY, np.inf, out=nobody)
        np.clip(other, LEAST_PROBABILITY, np.inf, out=other)
        np.divide(target, other, out=claim)
        nobody /= other
        cv2.accumulate(claim, self.others[here])
        cv2.accumulate(np.log(nobody, out=nobody), self.nobody[here])
        return claim

    def settle(self, labels: LabelMap) -> None:
        """Write the owners that are sure enough into ``labels`` int32 [H, W]; the last step."""
        with np.errstate(over="ignore"):  # infinitely sure that it is nobody's pixel: 0
            sure = self._confidence()
        cv2.copyTo(self.target, (self.covering <= 1).view(np.uint8), dst=sure)
        x1, y1, x2, y2 = self.band
        cv2.copyTo(self.owner, (sure >= self.threshold).view(np.uint8), dst=labels[y1:y2, x1:x2])

    def _confidence(self) -> FloatArray:
        """Probability of each pixel's owner where several ROIs cover it; uses the sums up."""
        if self.rule == "arbitrate":
            against = np.multiply(self.others, 0.5, out=self.others)
            against -= self._strength_of_existing()
            np.exp(against, out=against)
            against += 1
            return np.divide(1, against, out=against)
        if self.rule == "product":
            against = np.exp(self.nobody, out=self.nobody)
            against += self.others
            against += 1
            return np.divide(self.strength, against, out=against)
        if self.rule == "mean":
            fused = np.add(self.strength, self.others, out=self.others)
            fused /= np.maximum(self.covering, 1)
            fused[self.strength < 0] = 0
            return fused
        return self.strength

    def _strength_of_existing(self) -> FloatArray:
        """What each owner's claim would be if he surely existed."""
        if (self.exists == 1).all():
            return self.strength
        weight = self._plane("weight", self.owner.shape)
        self.exists.take(self.owner, out=weight, mode="clip")
        weight *= self.target
        gain = self._log_odds("odds", self.target)
        gain -= self._log_odds("odds weighed", weight)
        gain += self.strength
        return gain

    def _log_odds(self, name: str, probability: FloatArray) -> FloatArray:
        odds: FloatArray = self._plane(name, probability.shape)
        rest: FloatArray = self._plane("rest", probability.shape)
        np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY, out=odds)
        np.subtract(1, odds, out=rest)
        odds /= rest
        return np.log(odds, out=odds)

    def _plane(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[Any]:
        return self.scratch.array(name, shape, dtype)

"""From logits to the image's pixels: softmax, smoothing, and whose each pixel is.

Every ROI tells for each of its pixels *t*, the probability that it belongs to its own person, *n*,
to somebody else, and *b*, to nobody. Where ROIs overlap, their words have to be put together; a
fuse rule says how. A pixel that a single ROI covers has only its *t* to go by, under every rule:
a person alone comes out exactly as ``t >= threshold``.

The rules, for a pixel that the ROIs *i*, *j* … cover:

- ``arbitrate``: the odds of *tᵢ*, raised by every neighbour that sees somebody else there:
  ``tᵢ/(1 - tᵢ) · Πⱼ (1 - nⱼ)^-½``. The highest owns the pixel if its probability reaches the
  threshold. A neighbour's *n* speaks for somebody; that it sees nobody speaks against nothing,
  because *n* is precise but misses half of what is there. The root halves what the neighbours
  say: all ROIs look at the same features.

  That is for people who exist. A detector's candidate exists with probability *e*, made of its
  score (``existence``). The pixel is his only if he exists, so he claims it with *e·t* in place of
  *t*; his *n* is a word only if he exists, so on the mean ``1 - e·n`` stands for ``1 - n``. The
  strongest claim gets the pixel. Whether it reaches the threshold is asked of the mask of a person
  who exists: there the owner's own *t* counts in full, as it does where he is alone.
- ``product``: the ROIs' words taken as independent and complete: ``tᵢ·Πⱼ nⱼ`` against the same of
  the others, against nobody, ``Π b``, and against a person without a ROI, ``Π n``.
- ``mean``: the mean of *tᵢ* and the others' *nⱼ* must reach the threshold, the highest owns. A
  person whose own ROI rather sees somebody else (*n* > *t*) owns nothing that others cover.
- ``max``: the highest *t* owns the pixel if it reaches the threshold.
- ``priority``: the person of the highest score among those whose *t* reaches the threshold.
- ``independent``: nothing is fused, a pixel may have several owners (a label map tells ``max``'s).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection import geometry
from human_edge_detection.existence import existence
from human_edge_detection.structures import FloatArray, MaskClass

RULES = ("arbitrate", "product", "mean", "max", "priority", "independent")

LEAST_PROBABILITY = 1e-3
"""The least that a ROI's word counts as in a product, so that no single ROI has a veto."""

BAND_PIXELS = 1 << 18
"""Pixels fused at a time: it bounds the working memory, whatever the image and the crowd."""

LabelMap = NDArray[np.int32]
Bounds = tuple[int, int, int, int]


def softmax(logits: NDArray[np.floating]) -> FloatArray:
    """Probabilities float32 [N, 3, M, M] from logits of the same shape."""
    values = np.asarray(logits, np.float32)
    if values.size == 0:
        return values
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def as_class_probs(masks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Probabilities [N, 3, M, M], from the same or from target probabilities [N, M, M].

    Where only the target's probability is known the rest counts as somebody else's: a ROI that
    denies a pixel leaves it to the others.
    """
    if masks.ndim == 4 and masks.shape[1] == len(MaskClass):
        return masks
    if masks.ndim != 3:
        raise ValueError(f"masks must be [N, M, M] or [N, 3, M, M], but got {list(masks.shape)}")
    return np.stack([np.zeros_like(masks), masks, 1 - masks], axis=1)


def smooth(probs: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    """Probabilities [..., M, M] blurred by a Gaussian of ``sigma`` bins; 0 leaves them alone."""
    if sigma <= 0 or probs.size == 0:
        return probs
    planes = np.asarray(probs, np.float32).reshape(-1, *probs.shape[-2:])
    border = cv2.BORDER_REPLICATE
    blurred = [cv2.GaussianBlur(plane, (0, 0), sigma, borderType=border) for plane in planes]
    return np.stack(blurred).reshape(probs.shape)


def paste_target(
    probs: NDArray[np.floating], roi_xyxy: FloatArray, size_hw: tuple[int, int]
) -> tuple[FloatArray, Bounds]:
    """One person's target probability float32 [h, w] at the pixels of its ROI, and their window.

    Args:
        probs: [3, M, M] probabilities.
        roi_xyxy: float32 [4] source pixels, what the mask covers.
        size_hw: the image's height and width.
    """
    target = np.asarray(probs[MaskClass.TARGET], np.float32)
    return geometry.paste_window(target, roi_xyxy, size_hw)


def fuse(
    probs: NDArray[np.floating],
    rois_xyxy: FloatArray,
    scores: FloatArray,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
    rule: str = "arbitrate",
) -> LabelMap:
    """The owner of every pixel, int32 [H, W]: 0 nobody, ``i + 1`` person ``i``.

    The result does not depend on the order of the people. Beyond it, memory is that of one band
    of rows.

    Args:
        probs: [N, 3, M, M] probabilities of the classes of ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers.
        scores: float32 [N], how sure it is in 0…1 that each person exists; ``arbitrate`` weighs
            by them, ``priority`` sorts by them, the other rules only settle exact ties. All 1: only
            the masks decide.
        size_hw: the image's height and width.
        threshold: least probability of ownership, as the rule defines it.
        rule: one of ``RULES``.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, but got {rule!r}")
    labels = np.zeros(size_hw, np.int32)
    if len(probs) == 0:
        return labels
    bounds = np.array([geometry.roi_bounds(roi, size_hw) for roi in rois_xyxy])
    contested = _contested(bounds)
    for person in np.flatnonzero(~contested):
        target, (x1, y1, x2, y2) = paste_target(probs[person], rois_xyxy[person], size_hw)
        labels[y1:y2, x1:x2][target >= threshold] = person + 1
    crowd = [person for person in _order(probs, rois_xyxy, scores) if contested[person]]
    exists = np.ones(len(probs) + 1, np.float32)
    exists[np.array(crowd, np.int64) + 1] = existence(rois_xyxy[crowd], scores[crowd])
    for band in _bands(bounds[crowd]):
        claims = _Claims.over(band, rule, threshold, exists)
        for person in crowd:
            claims.add(person, probs[person], rois_xyxy[person], bounds[person])
        x1, y1, x2, y2 = band
        owned = claims.confidence() >= threshold
        labels[y1:y2, x1:x2][owned] = claims.owner[owned]
    return labels


def _contested(bounds: NDArray[np.int64]) -> NDArray[np.bool_]:
    low = np.maximum(bounds[:, None, :2], bounds[None, :, :2])
    high = np.minimum(bounds[:, None, 2:], bounds[None, :, 2:])
    shared = np.logical_and.reduce(high > low, axis=2)
    others = shared.sum(axis=1) - shared.diagonal()
    return np.asarray(others > 0)


def _order(
    probs: NDArray[np.floating], rois_xyxy: FloatArray, scores: FloatArray
) -> NDArray[np.int64]:
    # Sums of floats depend on their order, so the order must come from the people themselves.
    targets = probs[:, MaskClass.TARGET].sum(axis=(1, 2), dtype=np.float64)
    return np.lexsort([targets, *rois_xyxy.T, -scores])


def _bands(bounds: NDArray[np.int64]) -> Iterator[Bounds]:
    if len(bounds) == 0:
        return
    (left, top), (right, bottom) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    rows = max(1, BAND_PIXELS // int(right - left))
    for first in range(int(top), int(bottom), rows):
        yield int(left), first, int(right), min(first + rows, int(bottom))


@dataclass
class _Claims:
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

    @classmethod
    def over(cls, band: Bounds, rule: str, threshold: float, exists: FloatArray) -> _Claims:
        """No claims yet."""
        shape = (band[3] - band[1], band[2] - band[0])
        target, others, nobody = (np.zeros(shape, np.float32) for _ in range(3))
        strength = np.full(shape, -np.inf, np.float32)
        owner, covering = np.zeros(shape, np.int32), np.zeros(shape, np.uint16)
        return cls(band, rule, threshold, exists, owner, strength, target, covering, others, nobody)

    def add(
        self,
        person: int,
        probs: NDArray[np.floating],
        roi_xyxy: FloatArray,
        bounds: NDArray[np.int64],
    ) -> None:
        """Take in what one ROI says; of equal claims the first one stands."""
        left, top, right, bottom = self.band
        x1, y1 = max(int(bounds[0]), left), max(int(bounds[1]), top)
        x2, y2 = min(int(bounds[2]), right), min(int(bounds[3]), bottom)
        if x2 <= x1 or y2 <= y1:
            return
        here = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        words = np.asarray(probs[MaskClass.TARGET :], np.float32)
        target, other = geometry.paste_at(words, roi_xyxy, (x1, y1, x2, y2))
        self.covering[here] += 1
        strength = self._weigh(target, other, here, float(self.exists[person + 1]))
        wins = (strength > self.strength[here]).view(np.uint8)
        label = np.full(wins.shape, person + 1, np.int32)
        for ours, theirs in ((strength, self.strength), (target, self.target), (label, self.owner)):
            cv2.copyTo(ours, wins, theirs[here])  # in place; NumPy's own is ten times slower

    def _weigh(
        self, target: FloatArray, other: FloatArray, here: tuple[slice, slice], exists: float
    ) -> FloatArray:
        """How strong the person's claim is, the neighbours' words added to the sums."""
        if self.rule in ("max", "independent"):
            return target
        if self.rule == "priority":
            return np.asarray(target >= self.threshold, np.float32)
        if self.rule == "mean":
            self.others[here] += other
            return target - other
        # A product over all ROIs but one is that over all, divided by that one's own factor: so
        # people can be ordered at once, and what they have in common is taken off at the end.
        if self.rule == "arbitrate":
            unseen = np.log(np.maximum(1 - exists * other, LEAST_PROBABILITY))
            self.others[here] += unseen
            return np.asarray(_log_odds(exists * target) + 0.5 * unseen, np.float32)
        nobody = np.maximum(1 - target - other, LEAST_PROBABILITY)
        other = np.maximum(other, LEAST_PROBABILITY)
        odds = target / other
        self.others[here] += odds
        self.nobody[here] += np.log(nobody / other)
        return odds

    def confidence(self) -> FloatArray:
        """Probability of ownership of each pixel's owner, as the rule defines it."""
        if self.rule == "arbitrate":
            with np.errstate(over="ignore"):  # nobody's pixel: 0
                fused = 1 / (1 + np.exp(0.5 * self.others - self._strength_of_existing()))
        elif self.rule == "product":
            with np.errstate(over="ignore"):  # infinitely sure that it is nobody: 0
                fused = self.strength / (self.others + np.exp(self.nobody) + 1)
        elif self.rule == "mean":
            fused = (self.strength + self.others) / np.maximum(self.covering, 1)
            fused[self.strength < 0] = 0
        else:
            return self.target
        return np.where(self.covering > 1, fused, self.target)

    def _strength_of_existing(self) -> FloatArray:
        """What each owner's claim would be if he surely existed."""
        if (self.exists == 1).all():
            return self.strength
        weighed = _log_odds(self.exists[self.owner] * self.target)
        return self.strength + (_log_odds(self.target) - weighed)


def _log_odds(probability: FloatArray) -> FloatArray:
    sure = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(sure / (1 - sure)), np.float32)

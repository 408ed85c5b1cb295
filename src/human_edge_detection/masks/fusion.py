"""From logits to the image's pixels: softmax, smoothing, and whose each pixel is.

Every ROI tells for each of its bins *t*, the probability that it belongs to its own person, *n*,
to somebody else, and *b*, to nobody. A person's mask for itself is where the log-odds of *t*,
interpolated to the pixels, reach those of the threshold (``odds``).

Where ROIs overlap, their words have to be put together; a fuse rule says how. A pixel that a single
ROI covers has only its *t* to go by, under every rule: a person alone comes out as for itself.

The rules, for a pixel that the ROIs *i*, *j* … cover:

- ``arbitrate``: the odds of *tᵢ*, raised by every neighbour that sees somebody else there:
  ``tᵢ/(1 - tᵢ) · Πⱼ (1 - nⱼ)^-½``. The highest owns the pixel if its probability reaches the
  threshold. A neighbour's *n* speaks for somebody; that it sees nobody speaks against nothing,
  because *n* is precise but misses half of what is there. The root halves what the neighbours
  say: all ROIs look at the same features. The logarithms of the factors are what is interpolated.

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

Probabilities and thresholds are cut to 0.001 … 0.999, so that no single bin or ROI has a veto.

The rules that ``arbitrate`` is compared with; what each of them means is told in ``masks``.

Written plainly, since nobody waits for them, but in the memory of one band of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import Bounds, FloatArray, LabelMap, MaskClass
from human_edge_detection.masks.arbitration import Claims, existence
from human_edge_detection.masks.paste import paste_at
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, cut, log_odds, paste_masks


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


RULES = ("arbitrate", "product", "mean", "max", "priority", "independent")

BAND_PIXELS = 1 << 18
"""Pixels fused at a time: it bounds the working memory, whatever the image and the crowd."""


def softmax(logits: NDArray[np.floating]) -> FloatArray:
    """Probabilities float32 [N, 3, M, M] from logits of the same shape."""
    values = np.asarray(logits, np.float32)
    if values.size == 0:
        return values
    powers: FloatArray = values - values.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


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


def fuse(
    probs: NDArray[np.floating],
    rois_xyxy: FloatArray,
    scores: FloatArray,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
    rule: str = "arbitrate",
) -> LabelMap:
    """The owner of every pixel, int32 [H, W]: 0 nobody, ``i + 1`` person ``i``.

    The result does not depend on the order of the people. Beyond it, memory is that of one band and
    of the people's bins.

    Args:
        probs: [N, 3, M, M] probabilities of the classes of ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers.
        scores: float32 [N], how sure it is in 0…1 that each person exists; ``arbitrate`` weighs
            by them, ``priority`` sorts by them, the other rules only settle exact ties. All 1: only
            the masks decide.
        size_hw: the image's height and width.
        threshold: least probability of ownership, as the rule defines it, cut to 0.001 … 0.999.
        rule: one of ``RULES``.
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
        crowd = order[contested[order]]
        judge: Claims | PlainRule
        if rule == "arbitrate":
            exists = existence(rois_xyxy[crowd], scores[crowd])
            judge = Claims(crowd, probs, rois_xyxy, windows, exists)
        else:
            judge = PlainRule(rule, crowd, probs, rois_xyxy)
        for band in _bands(windows[crowd]):
            inside = _inside(windows[crowd], band)
            rows = np.flatnonzero((inside[:, 2:] > inside[:, :2]).all(axis=1))
            judge.settle(band, rows, inside[rows], threshold, labels)
    alone = np.flatnonzero(~contested)
    own = paste_masks(probs[alone, MaskClass.TARGET], rois_xyxy[alone], windows[alone], threshold)
    for person, mask in zip(alone.tolist(), own, strict=True):
        x1, y1, x2, y2 = windows[person].tolist()
        np.multiply(mask, person + 1, out=labels[y1:y2, x1:x2], dtype=np.int32)
    return labels


def _inside(bounds: NDArray[np.int64], band: Bounds) -> NDArray[np.int64]:
    """What of each window [N, 4] lies in a band; reversed where nothing does."""
    low, high = np.maximum(bounds[:, :2], band[:2]), np.minimum(bounds[:, 2:], band[2:])
    return np.concatenate([low, high], axis=1)


def _contested(bounds: NDArray[np.int64]) -> NDArray[np.bool_]:
    if len(bounds) == 1:
        return np.zeros(1, np.bool_)
    x1, y1, x2, y2 = bounds.T
    shared = np.minimum.outer(x2, x2) > np.maximum.outer(x1, x1)
    shared &= np.minimum.outer(y2, y2) > np.maximum.outer(y1, y1)
    others = shared.sum(axis=1) - shared.diagonal()
    return np.asarray(others > 0)


def _order(
    probs: NDArray[np.floating], rois_xyxy: FloatArray, scores: FloatArray
) -> NDArray[np.int64]:
    # Sums of floats depend on their order, so the order must come from the people themselves.
    targets = probs[:, MaskClass.TARGET].sum(axis=(1, 2), dtype=np.float64)
    return np.lexsort([targets, *rois_xyxy.T, -scores])


def _bands(bounds: NDArray[np.int64]) -> list[Bounds]:
    """The crowd's part of the image in bands of at most ``BAND_PIXELS``, or of one row or column.

    The cuts lie across the axis where they cut fewer people: for people who stand, that is x.
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

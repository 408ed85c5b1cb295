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
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import Bounds, FloatArray, LabelMap, MaskClass
from human_edge_detection.masks.arbitration import Claims
from human_edge_detection.masks.existence import existence
from human_edge_detection.masks.plain_rules import PlainRule
from human_edge_detection.masks.probabilities import paste_masks

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

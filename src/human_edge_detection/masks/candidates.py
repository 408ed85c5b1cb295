"""How sure it is that each of a detector's candidates is a person of its own.

A detector's score tells how much a box looks like a person. Once the masks are there, more can be
said, and the score of a candidate *j* becomes

    pⱼ = σ(w₀ + w₁ log odds(sⱼ) + w₂ log odds(qⱼ))
    scoreⱼ = pⱼaⱼ / (pⱼaⱼ + 1 - pⱼ),   aⱼ = Πᵢ (1 - scoreᵢ·sameᵢⱼ)   over all i with pᵢ > pⱼ

    s     the detector's score, cut to 0.001 … 0.999
    q     mean target probability inside the mask, cut to 0.001 … BEST_QUALITY
    w     the model's ``score_weights``, fitted on training photos; without them p = s
    same  0 … SURELY_SAME, how likely both masks are one person's: rises with their IoU

*p* is the probability that the mask is a person's, with an IoU of 0.5 at least. *a* takes from its
odds what may be a surer candidate's person, as ``masks/arbitration`` does by boxes; duplicates fall
below any useful limit. A candidate that is all but sure stays: of a person right in front of
another the head may draw one mask in both boxes, and detectors rarely give one person two high
scores.

Masks are compared as each ROI draws them by itself, before overlaps are decided. Two boxes of one
person have nearly the same mask. Two people's masks hardly overlap, however much their boxes do:
each ROI counts the other's pixels as "another person". The boxes' IoU and that probability tell no
more than the masks' IoU alone (docs/results.md).

Every second bin of a mask is read, along both sides; comparing needs no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_areas
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, log_odds

SAME_FROM, SAME_AT = 0.1, 0.4
"""Mask IoU up to which two candidates are two people, and from which they are likely one person."""

SURELY_SAME = 0.95
"""The highest probability that two candidates are one person, whatever their masks are."""

BEST_QUALITY = 0.9
"""A higher mean probability counts as this. Scores are then likeliest right (docs/person-model.md),
and a low score of the detector has a bound: `least_score`."""

_PAIRS_AT_ONCE = 1 << 11
"""Pairs of masks compared at a time; bounds the working memory for any crowd."""


def found_scores(
    probs: NDArray[np.floating],
    rois_xyxy: FloatArray,
    scores: FloatArray,
    weights: Sequence[float] = (),
) -> FloatArray:
    """The probability float32 [N] that each candidate is a person of its own.

    Args:
        probs: [N, 3, M, M] probabilities of the classes of ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers.
        scores: float32 [N] of the detector.
        weights: the model's ``score_weights``.
    """
    targets = few_bins(probs)
    first, second, ious = mask_overlaps(targets >= 0.5, rois_xyxy)
    same = SURELY_SAME * np.clip((ious - SAME_FROM) / (SAME_AT - SAME_FROM), 0, 1)
    return without_duplicates(person_scores(targets, scores, weights), first, second, same)


def few_bins(probs: NDArray[np.floating]) -> FloatArray:
    """The target probabilities float32 [N, m, m] of every second bin along both sides."""
    return np.asarray(probs[:, MaskClass.TARGET, ::2, ::2], np.float32)


def person_scores(targets: FloatArray, scores: FloatArray, weights: Sequence[float]) -> FloatArray:
    """The probability *p* float32 [N] that each candidate's mask is a person's.

    Args:
        targets: float32 [N, m, m] target probabilities.
        scores: float32 [N] of the detector, returned as they are without weights.
        weights: three, or none.
    """
    if not weights:
        return np.asarray(scores, np.float32)
    odds = weights[0] + evidence(targets, scores) @ np.array(weights[1:], np.float32)
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def evidence(targets: FloatArray, scores: FloatArray) -> FloatArray:
    """The log-odds float32 [N, 2] of each candidate's score and of its mask's quality."""
    inside = targets >= 0.5
    total = np.sum(targets, axis=(1, 2), where=inside, dtype=np.float64)
    quality = total / np.maximum(inside.sum(axis=(1, 2)), 1)
    return np.stack([log_odds(scores), log_odds(np.minimum(quality, BEST_QUALITY))], axis=1)


def least_score(probability: float, weights: Sequence[float] = ()) -> float:
    """A detector's score below which no candidate is a person with this probability.

    With the best mask a candidate of this score just reaches it.
    """
    if not weights or probability <= LEAST_PROBABILITY:
        return probability
    constant, by_score, by_quality = weights
    wanted = float(log_odds(probability)) - constant - by_quality * float(log_odds(BEST_QUALITY))
    return float(1 / (1 + np.exp(-wanted / by_score)))


def mask_overlaps(
    masks: NDArray[np.bool_], rois_xyxy: FloatArray
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The pairs of masks whose IoU may exceed ``SAME_FROM``, and their IoU.

    The mask of the smaller ROI is compared, bin by bin, with the nearest bins of the other.

    Args:
        masks: bool [N, m, m], each in the bins of its ROI.
        rois_xyxy: float32 [N, 4], any frame.

    Returns:
        int64 [P] and int64 [P], rows; float64 [P] in 0…1.
    """
    side = masks.shape[-1]
    rois = np.asarray(rois_xyxy, np.float64)
    bins = np.asarray(box_areas(rois_xyxy), np.float64) / max(side, 1) ** 2
    areas = masks.sum(axis=(1, 2)) * bins
    first, second = _close_pairs(rois, areas)
    is_first = bins[first] <= bins[second]
    small, large = np.where(is_first, first, second), np.where(is_first, second, first)
    padded = np.pad(masks, ((0, 0), (0, 1), (0, 1)))
    shared = np.zeros(len(small))
    for start in range(0, len(small), _PAIRS_AT_ONCE):
        one, other = (rows[start : start + _PAIRS_AT_ONCE] for rows in (small, large))
        columns = _nearest_bins(rois[one][:, 0::2], rois[other][:, 0::2], side)
        rows = _nearest_bins(rois[one][:, 1::2], rois[other][:, 1::2], side)
        seen = padded[other[:, None, None], rows[:, :, None], columns[:, None, :]]
        seen &= masks[one]
        shared[start : start + len(one)] = seen.sum(axis=(1, 2)) * bins[one]
    union = areas[small] + areas[large] - shared
    return first, second, np.clip(shared / np.maximum(union, 1e-9), 0, 1)


def _close_pairs(
    rois: NDArray[np.float64], areas: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of rows whose masks may overlap enough, by their areas and their ROIs."""
    width, height = (
        np.minimum.outer(rois[:, axis + 2], rois[:, axis + 2])
        - np.maximum.outer(rois[:, axis], rois[:, axis])
        for axis in (0, 1)
    )
    most = np.maximum(width, 0) * np.maximum(height, 0)
    np.minimum(most, np.minimum.outer(areas, areas), out=most)
    first, second = np.nonzero(np.triu(most > SAME_FROM * np.maximum.outer(areas, areas), 1))
    return first, second


def _nearest_bins(
    low_high: NDArray[np.float64], others: NDArray[np.float64], side: int
) -> NDArray[np.int64]:
    """For each of a ROI's bins along an axis the bin of another ROI at its centre, int64 [P, m].

    ``side`` where the other ROI does not reach; ends float64 [P, 2] of both.
    """
    low, length = low_high[:, :1], np.diff(low_high, axis=1)
    centres = low + (np.arange(side) + 0.5) * (length / side)
    steps = side / np.maximum(np.diff(others, axis=1), 1e-9)
    places = np.floor((centres - others[:, :1]) * steps)
    return np.where((places >= 0) & (places < side), places, side).astype(np.int64)


def without_duplicates(
    scores: FloatArray,
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    same: NDArray[np.floating],
) -> FloatArray:
    """The scores float32 [N] less what may be a surer candidate's person.

    Args:
        scores: float32 [N] probabilities; of equal ones the first counts as surer.
        first: int [P], the pairs' one candidate.
        second: int [P], the other.
        same: float [P] below 1, the probability that both are one person.
    """
    rank = np.empty(len(scores), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    is_surer = rank[first] < rank[second]
    surer, other = np.where(is_surer, first, second), np.where(is_surer, second, first)
    before = np.asarray(scores, np.float64)
    own, free = before.copy(), np.ones(len(scores))
    # By falling certainty of the less sure one, so that the surer one's score is final.
    for pair in np.argsort(rank[other], kind="stable"):
        one = other[pair]
        free[one] *= 1 - same[pair] * own[surer[pair]]
        own[one] = before[one] * free[one] / (before[one] * free[one] + 1 - before[one])
    return own.astype(np.float32)

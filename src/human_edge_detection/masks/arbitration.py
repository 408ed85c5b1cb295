"""The rule ``arbitrate``: which person owns a pixel that several ROIs cover.

Every ROI *i* estimates at every pixel the probability *tᵢ* that the pixel belongs to its own
person (target) and *nᵢ* that it belongs to another person (non-target). The ROIs see different
crops of one image, so their estimates are combined:

    claimᵢ = log(wᵢtᵢ / (1 - wᵢtᵢ)) - ½ Σⱼ≠ᵢ log(1 - wⱼnⱼ)
    owner  = argmaxᵢ claimᵢ
    kept   if  log(tᵢ / (1 - tᵢ)) - ½ Σⱼ≠ᵢ log(1 - wⱼnⱼ)  ≥  log(T / (1 - T))   for i = owner

    t, n  target and non-target probability of a ROI at the pixel, cut to 0.001 … 0.999
    w     weight of the ROI's candidate, √e; 1 for given boxes
    e     probability that the candidate is a person of its own (see below)
    T     threshold
    ½     weight of the neighbours: all ROIs read the same features, so they are not independent

A high *n* of a ROI raises all other claims at the pixel; an *n* near 0 leaves them unchanged,
because *n* is precise but misses half of the other people. A candidate competes with *w·t*: *e·t*,
the probability that it exists and owns the pixel, takes too much from real people whom a detector
is unsure of (docs/results.md). Once it has won, the threshold applies to the mask of an existing
person, hence *t* alone.

Candidates. A detector's score *s* is taken as the probability that a box holds a person. Two boxes
of one person may pass non-maximum suppression, so a candidate *j* is the person of a surer
candidate *i* with probability ``sᵢ·IoUᵢⱼ``, and a person of its own with

    eⱼ = sⱼaⱼ / (sⱼaⱼ + 1 - sⱼ),   aⱼ = Πᵢ (1 - sᵢ·IoUᵢⱼ)  over all i with sᵢ > sⱼ

A candidate with score 1 is always kept: *e* = 1.

How it is computed. Logarithms are taken at the bins; everything after that is linear, so each
term is one plane that is interpolated to the pixels. The steps per pixel and ROI are few and
simple, so they run in place in kept memory; on windows of larger arrays OpenCV is two to three
times as fast as NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.structures import Bounds, FloatArray, LabelMap, MaskClass
from human_edge_detection.masks.paste import paste_grids, paste_on, thread_buffers
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, cut, log_odds

_CHUNK = 32
"""ROIs whose planes are computed at once, few enough for a processor's cache."""


@dataclass(frozen=True)
class Crowd:
    """The ROIs that share pixels with others, out of the N of an image.

    Attributes:
        members: int [K], their rows, by falling precedence: of equal claims the first wins.
        probs: [N, 3, M, M] probabilities.
        rois_xyxy: float32 [N, 4] source pixels, what the masks cover.
        windows: int64 [N, 4], the ROIs' whole pixels.
        scores: float32 [N].
    """

    members: NDArray[np.integer]
    probs: NDArray[np.floating]
    rois_xyxy: FloatArray
    windows: NDArray[np.int64]
    scores: FloatArray


class Band(NamedTuple):
    """A part of an image, and the ROIs of a crowd that have pixels in it.

    Attributes:
        bounds: its pixels.
        rows: rising positions of the ROIs in the crowd.
        windows: int64 [rows, 4], the pixels that each has there.
    """

    bounds: Bounds
    rows: NDArray[np.integer]
    windows: NDArray[np.int64]


class Arbitration:
    """Owners of a crowd's pixels by the rule ``arbitrate``.

    Holds float32 planes [K, C, M, M] at the bins of the ROIs:

    - 0, claim: ``log odds(w·t) + ½ log(1 - w·n)``. Half the sum over *all* ROIs is common to the
      claims at a pixel; with the ROI's own term added back here, claims compare without it;
    - 1, evidence: ``log(1 - w·n)``, summed over all ROIs of a pixel;
    - 2, gain: ``log odds(t) - log odds(w·t)``, which turns the owner's claim into the log-odds
      that the threshold applies to. Left out where every *w* is 1.
    """

    def __init__(self, crowd: Crowd) -> None:
        members = crowd.members
        own = candidate_probability(crowd.rois_xyxy[members], crowd.scores[members])
        weights = np.sqrt(own)
        side = crowd.probs.shape[-1]
        self._members = members
        self._pool = thread_buffers()
        self._grids = paste_grids(crowd.rois_xyxy[members], crowd.windows[members], side)
        self._is_sure = bool((weights == 1).all())
        shape = (len(members), 2 if self._is_sure else 3, side, side)
        self._planes: FloatArray = self._pool.array("planes", shape)
        for start in range(0, len(members), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._fill(crowd.probs, members[part], weights[part, None, None], self._planes[part])

    def _fill(
        self,
        probs: NDArray[np.floating],
        rows: NDArray[np.integer],
        weights: FloatArray,
        planes: FloatArray,
    ) -> None:
        """Write ``planes`` [n, C, M, M] of the ROIs ``rows``; ``weights`` are *w*, [n, 1, 1]."""
        claim, evidence = planes[:, 0], planes[:, 1]
        target = np.asarray(probs[rows, MaskClass.TARGET], np.float32)
        other = np.asarray(probs[rows, MaskClass.NON_TARGET], np.float32)
        if self._is_sure:
            log_odds(target, claim)
        else:
            log_odds(target * weights, claim)
            np.subtract(log_odds(target), claim, out=planes[:, 2])
            other *= weights
        np.subtract(1, other, out=other)
        np.clip(other, LEAST_PROBABILITY, 1, out=other)
        np.log(other, out=evidence)
        np.multiply(evidence, 0.5, out=other)
        claim += other

    def settle(self, band: Band, threshold: float, labels: LabelMap) -> None:
        """Write the owners of a band's pixels into the labels int32 [H, W] of the whole image."""
        (left, top, right, bottom), rows, windows = band
        shape = (bottom - top, right - left)
        # The strongest ROI so far is held by its number 1 … len(rows) in the smallest signed type
        # (int8 for most crowds): a quarter of the memory traffic of int32.
        ranks = np.min_scalar_type(-len(rows) - 1).type
        evidence = self._plane("evidence", shape, 0)
        strength = self._plane("strength", shape, -np.inf)
        gain = None if self._is_sure else self._plane("gain", shape, 0)
        rank = self._plane(f"rank {ranks.__name__}", shape, 0, ranks)
        mine_name = f"mine {ranks.__name__}"
        members = zip(rows.tolist(), windows.tolist(), strict=True)
        for number, (row, (x1, y1, x2, y2)) in enumerate(members, start=1):
            window = (x1, y1, x2, y2)
            pasted = paste_on(self._planes[row], self._grids[row], window, self._pool)
            here = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
            cv2.accumulate(pasted[1], evidence[here])
            strongest = strength[here]
            wins = self._pool.array("wins", strongest.shape, np.uint8)
            cv2.compare(pasted[0], strongest, cv2.CMP_GT, dst=wins)  # 255 where it wins, else 0
            cv2.max(pasted[0], strongest, dst=strongest)
            if gain is not None:
                cv2.copyTo(pasted[2], wins, dst=gain[here])  # the gain of the strongest so far
            # As int8, 255 is -1, all bits set: `and` gives this ROI's number where it wins, else 0.
            # Numbers rise, so the maximum overwrites earlier winners exactly there.
            mine = self._pool.array(mine_name, strongest.shape, ranks)
            np.bitwise_and(wins.view(np.int8), ranks(number), out=mine)
            cv2.max(rank[here], mine, dst=rank[here])
        cv2.scaleAdd(evidence, -0.5, strength, dst=strength)  # strength -= ½ Σ log(1 - w·n)
        if gain is not None:
            cv2.add(strength, gain, dst=strength)
        rank *= strength >= cut(threshold)  # nobody where the owner does not reach the threshold
        # From numbers to labels by a table; for int8, cv2.LUT wants one of 256 entries.
        names = np.zeros(max(256, len(rows) + 1), np.int32)
        names[1 : len(rows) + 1] = self._members[rows] + 1
        if ranks is np.int8:
            cv2.LUT(rank.view(np.uint8), names, dst=labels[top:bottom, left:right])
        else:
            labels[top:bottom, left:right] = names.take(rank)

    def _plane(
        self, name: str, shape: tuple[int, int], value: float, dtype: type = np.float32
    ) -> NDArray[Any]:
        plane = self._pool.array(name, shape, dtype)
        plane.fill(value)
        return plane


def candidate_probability(rois_xyxy: FloatArray, scores: FloatArray) -> FloatArray:
    """The probability *e* that each candidate is a person of its own, float32 [N].

    The last digits depend on the order of the candidates. Boxes of equal score do not lower each
    other's probability.

    Args:
        rois_xyxy: float32 [N, 4], any frame.
        scores: float32 [N]; cut to 0…1.
    """
    exists = np.clip(np.asarray(scores, np.float64), 0, 1)
    if (exists == 1).all():
        return np.ones(len(exists), np.float32)
    surer = exists[None, :] > exists[:, None]
    same = box_iou(rois_xyxy, rois_xyxy) * surer * exists[None, :]
    own = exists * (1 - same).prod(axis=1)
    return np.asarray(own / (own + 1 - exists), np.float32)

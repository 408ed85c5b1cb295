"""The rule ``arbitrate``: what all ROIs of a crowd together say, and who gets its pixels.

The rule is told in ``masks``. Logarithms are taken at the bins; from there to the pixels and on
everything is linear, so that a ROI's claim is one plane that is pasted, and its word to the others
a second one. The work is a dozen simple steps a pixel and ROI, so it is done in place, in memory
that is kept: with fresh arrays most of the time went into getting them. Where an array is a window
of a larger one OpenCV is two to three times as fast as NumPy.

How sure it is that a candidate is a person at all, and not one whom a surer box holds already.

A detector's score is taken as the probability that a box holds a person. That leaves boxes of
people who were found before: non-maximum suppression lets two boxes of one person stand if they
differ enough. A surer candidate *i*, which itself exists with probability *sᵢ*, is the same person
as *j* with a probability that is told from their ROIs, ``sᵢ·IoUᵢⱼ``; what is left for a person of
*j*'s own is ``aⱼ = Πᵢ (1 - sᵢ·IoUᵢⱼ)``. Of a person of its own, ``sⱼ·aⱼ``, and nobody, ``1 - sⱼ``,

    ``eⱼ = sⱼ·aⱼ / (sⱼ·aⱼ + 1 - sⱼ)``

is the probability of the first. Who has score 1 exists, however close the others are.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.structures import Bounds, FloatArray, LabelMap, MaskClass
from human_edge_detection.masks.buffers import kept_scratch
from human_edge_detection.masks.paste import paste_grids, paste_on
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, cut, log_odds

_CHUNK = 32
"""People whose bins are worked on at once, few enough for a processor's cache."""


class Claims:
    """What the people of a crowd claim and say about each other; of equal claims the first stands.

    Everything is float32 log-odds [N, C, M, M] at the bins of the ROIs. The planes of a person:

    - his claim, ``log odds(e·t) + ½ log(1 - e·n)``: his own word is taken off what everybody says
      beforehand, so that all claims to a pixel compare without what they have in common;
    - what he says of everybody else's, ``log(1 - e·n)``;
    - unless everybody surely exists, what his claim would gain if he did.
    """

    def __init__(
        self,
        crowd: NDArray[np.integer],
        probs: NDArray[np.floating],
        rois_xyxy: FloatArray,
        windows: NDArray[np.int64],
        exists: FloatArray,
    ) -> None:
        """Weigh every bin of the crowd once.

        Args:
            crowd: int [K], who of the N people, in the order in which their claims are heard.
            probs: [N, 3, M, M] probabilities.
            rois_xyxy: float32 [N, 4] source pixels, what the masks cover.
            windows: int64 [N, 4] the ROIs' pixels.
            exists: float32 [K], the probability that each of the crowd exists.
        """
        side = probs.shape[-1]
        self._crowd = crowd
        self._scratch = kept_scratch()
        self._grids = paste_grids(rois_xyxy[crowd], windows[crowd], side)
        self._is_sure = bool((exists == 1).all())
        shape = (len(crowd), 2 if self._is_sure else 3, side, side)
        self._planes: FloatArray = self._scratch.array("planes", shape)
        for start in range(0, len(crowd), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._weigh(probs, crowd[part], exists[part, None, None], self._planes[part])

    def _weigh(
        self,
        probs: NDArray[np.floating],
        people: NDArray[np.integer],
        exists: FloatArray,
        planes: FloatArray,
    ) -> None:
        """Write some people's ``planes`` [n, C, M, M]."""
        claim, unseen = planes[:, 0], planes[:, 1]
        target = np.asarray(probs[people, MaskClass.TARGET], np.float32)
        other = np.asarray(probs[people, MaskClass.NON_TARGET], np.float32)
        if self._is_sure:
            log_odds(target, claim)
        else:
            log_odds(target * exists, claim)
            np.subtract(log_odds(target), claim, out=planes[:, 2])
            other *= exists
        np.subtract(1, other, out=other)
        np.clip(other, LEAST_PROBABILITY, 1, out=other)
        np.log(other, out=unseen)
        np.multiply(unseen, 0.5, out=other)
        claim += other

    def settle(
        self,
        band: Bounds,
        rows: NDArray[np.integer],
        windows: NDArray[np.int64],
        threshold: float,
        labels: LabelMap,
    ) -> None:
        """Write the owners of a band's pixels.

        Args:
            band: the pixels.
            rows: rising places in the crowd of those who have pixels in the band.
            windows: int64 [rows, 4] those pixels.
            threshold: least probability of ownership.
            labels: int32 [H, W] of the whole image; the band's pixels are written.
        """
        left, top, right, bottom = band
        shape = (bottom - top, right - left)
        ranks = np.min_scalar_type(-len(rows) - 1).type
        others = self._plane("others", shape, 0)
        strength = self._plane("strength", shape, -np.inf)
        gain = None if self._is_sure else self._plane("gain", shape, 0)
        rank = self._plane(f"rank {ranks.__name__}", shape, 0, ranks)
        mine_name = f"mine {ranks.__name__}"
        people = zip(rows.tolist(), windows.tolist(), strict=True)
        for number, (row, (x1, y1, x2, y2)) in enumerate(people, start=1):
            window = (x1, y1, x2, y2)
            words = paste_on(self._planes[row], self._grids[row], window, self._scratch)
            here = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
            cv2.accumulate(words[1], others[here])
            strongest = strength[here]
            wins = self._scratch.array("wins", strongest.shape, np.uint8)
            cv2.compare(words[0], strongest, cv2.CMP_GT, dst=wins)
            cv2.max(words[0], strongest, dst=strongest)
            if gain is not None:
                cv2.copyTo(words[2], wins, dst=gain[here])
            # A later winner has the higher number: the maximum writes it just where he wins.
            mine = self._scratch.array(mine_name, strongest.shape, ranks)
            np.bitwise_and(wins.view(np.int8), ranks(number), out=mine)
            cv2.max(rank[here], mine, dst=rank[here])
        cv2.scaleAdd(others, -0.5, strength, dst=strength)
        if gain is not None:
            cv2.add(strength, gain, dst=strength)
        rank *= strength >= cut(threshold)
        names = np.zeros(max(256, len(rows) + 1), np.int32)
        names[1 : len(rows) + 1] = self._crowd[rows] + 1
        if ranks is np.int8:
            cv2.LUT(rank.view(np.uint8), names, dst=labels[top:bottom, left:right])
        else:
            labels[top:bottom, left:right] = names.take(rank)

    def _plane(
        self, name: str, shape: tuple[int, int], value: float, dtype: type = np.float32
    ) -> NDArray[Any]:
        plane = self._scratch.array(name, shape, dtype)
        plane.fill(value)
        return plane


def existence(rois_xyxy: FloatArray, scores: FloatArray) -> FloatArray:
    """The probability that each candidate is a person of its own, float32 [N].

    The last digits depend on the order of the candidates. Boxes of equal score take nothing from
    each other.

    Args:
        rois_xyxy: float32 [N, 4], any frame.
        scores: float32 [N]; above 1 counts as 1, below 0 as 0.
    """
    exists = np.clip(np.asarray(scores, np.float64), 0, 1)
    if (exists == 1).all():
        return np.ones(len(exists), np.float32)
    surer = exists[None, :] > exists[:, None]
    same = box_iou(rois_xyxy, rois_xyxy) * surer * exists[None, :]
    own = exists * (1 - same).prod(axis=1)
    return np.asarray(own / (own + 1 - exists), np.float32)

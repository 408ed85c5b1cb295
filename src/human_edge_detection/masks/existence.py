"""How sure it is that a candidate is a person at all, and not one whom a surer box holds already.

A detector's score is taken as the probability that a box holds a person. That leaves boxes of
people who were found before: non-maximum suppression lets two boxes of one person stand if they
differ enough. A surer candidate *i*, which itself exists with probability *sᵢ*, is the same person
as *j* with a probability that is told from their ROIs, ``sᵢ·IoUᵢⱼ``; what is left for a person of
*j*'s own is ``aⱼ = Πᵢ (1 - sᵢ·IoUᵢⱼ)``. Of a person of its own, ``sⱼ·aⱼ``, and nobody, ``1 - sⱼ``,

    ``eⱼ = sⱼ·aⱼ / (sⱼ·aⱼ + 1 - sⱼ)``

is the probability of the first. Who has score 1 exists, however close the others are.
"""

from __future__ import annotations

import numpy as np

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.structures import FloatArray


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

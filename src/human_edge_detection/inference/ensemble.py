"""The heads of a model, one or several whose probabilities are averaged.

The mean of what several models say about the same people, each about its own region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_areas, padded_rois
from human_edge_detection.core.geometry import AxisTransform
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.inference.encoders import EncodedImage
from human_edge_detection.masks.paste import paste_at
from human_edge_detection.runtime.head import HeadSession


@dataclass(frozen=True)
class Answer:
    """One model's word on N people.

    Attributes:
        probs: float32 [N, 3, M, M], classes as in ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, what each mask covers; empty where the model has
            not looked.
    """

    probs: FloatArray
    rois_xyxy: FloatArray


def mean_probs(answers: Sequence[Answer], rois_xyxy: FloatArray, side: int) -> FloatArray:
    """The mean of the answers' probabilities, float32 [N, 3, side, side].

    A model has no say beyond its own ROI, where it has not looked: there the mean is that of the
    others. Where nobody has looked is background.

    Args:
        answers: at least one, of the same people.
        rois_xyxy: float32 [N, 4] source pixels, the regions to answer for, which hold the others.
        side: bins along each side.
    """
    total = np.zeros((len(rois_xyxy), len(MaskClass), side, side), np.float32)
    votes = np.zeros((len(rois_xyxy), 1, side, side), np.float32)
    for answer in answers:
        probs, weights = _on_grid(answer, rois_xyxy, side)
        total += probs * weights
        votes += weights
    unseen = votes == 0
    total[:, MaskClass.BACKGROUND, None][unseen] = 1
    votes[unseen] = 1
    total /= votes
    return total


def _on_grid(answer: Answer, rois_xyxy: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
    """The answer in the bins of other ROIs, and how much of each it covers [N, 1, side, side]."""
    own = answer.rois_xyxy
    seen = (box_areas(own) > 0) & (box_areas(rois_xyxy) > 0)
    weights = np.zeros((len(own), 1, side, side), np.float32)
    if answer.probs.shape[-1] == side and np.array_equal(own, rois_xyxy):
        weights[seen] = 1
        return answer.probs, weights
    probs = np.zeros((len(own), len(MaskClass), side, side), np.float32)
    for row in np.flatnonzero(seen):
        place = _in_bins(own[row], rois_xyxy[row], side)
        probs[row] = paste_at(answer.probs[row], place, (0, 0, side, side))
        rows, columns = (_cover(place[[low, low + 2]], side) for low in (1, 0))
        weights[row, 0] = rows[:, None] * columns
    return probs, weights


def _in_bins(box_xyxy: FloatArray, roi_xyxy: FloatArray, side: int) -> FloatArray:
    """A box float32 [4] in units of a ROI's bins, so that the bins are the pixels of an image."""
    x1, y1, x2, y2 = (float(value) for value in roi_xyxy)
    scale = side / (x2 - x1), side / (y2 - y1)
    transform = AxisTransform(scale, (-x1 * scale[0], -y1 * scale[1]))
    return np.asarray(transform.to_input(box_xyxy[None])[0], np.float32)


def _cover(low_high: NDArray[np.floating], side: int) -> FloatArray:
    """How much of each of ``side`` unit cells an interval covers, float32 [side] in 0…1."""
    cells = np.arange(side, dtype=np.float32)
    shared = np.minimum(low_high[1], cells + 1) - np.maximum(low_high[0], cells)
    return np.asarray(np.clip(shared, 0, 1), np.float32)


@dataclass(frozen=True)
class Member:
    """One head, and what it reads.

    Attributes:
        head: the open head.
        encoder: number of the network that its feature maps come from.
        maps: which of that network's maps it takes, in its own order.
    """

    head: HeadSession
    encoder: int
    maps: tuple[int, ...]


class Ensemble:
    """Heads that answer together; one alone answers for itself.

    Heads may differ in their margin around a box and in their number of bins: the masks then
    cover the widest region with the finest grid (see ``averaging``).

    Attributes:
        roi_padding: the widest margin around a box, as a part of its side.
        mask_size: the most bins along a mask's side.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Use open heads, at least one."""
        self._members = tuple(members)
        self.roi_padding = max(member.head.facts.roi_padding for member in members)
        self.mask_size = max(member.head.facts.mask_size for member in members)

    def __call__(self, encoded: EncodedImage, boxes: FloatArray, rois: FloatArray) -> FloatArray:
        """Mean probabilities float32 [N, 3, M, M] of the people.

        Args:
            encoded: the photo.
            boxes: float32 [N, 4] source pixels; an empty one is background.
            rois: float32 [N, 4] source pixels, the boxes grown by ``roi_padding``.
        """
        answers = [_answer(member, encoded, boxes) for member in self._members]
        if len(answers) == 1:
            return answers[0].probs
        return mean_probs(answers, rois, self.mask_size)

    def close(self) -> None:
        """Free the heads' sessions."""
        for member in self._members:
            member.head.close()


def _answer(member: Member, encoded: EncodedImage, boxes: FloatArray) -> Answer:
    source, facts = (encoded, *encoded.others)[member.encoder], member.head.facts
    rois = padded_rois(boxes, facts.roi_padding, source.prepared.size_hw)
    seen = (box_areas(boxes) > 0) & (box_areas(rois) > 0)
    inputs = source.prepared.transform.to_input(rois[seen])
    batch_index = np.zeros((len(inputs), 1), np.float32)
    features = [source.features[index] for index in member.maps]
    found = member.head.probabilities(features, np.concatenate([batch_index, inputs], axis=1))
    if seen.all():
        return Answer(found, rois)
    probs = np.zeros((len(boxes), len(MaskClass), facts.mask_size, facts.mask_size), np.float32)
    probs[:, MaskClass.BACKGROUND] = 1
    probs[seen] = found
    return Answer(probs, rois)

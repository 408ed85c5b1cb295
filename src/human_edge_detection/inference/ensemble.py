"""The heads of a model, one or several whose probabilities are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from human_edge_detection.core.boxes import box_areas, padded_rois
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.inference.averaging import Answer, mean_probs
from human_edge_detection.inference.encoders import EncodedImage
from human_edge_detection.runtime.head import HeadSession


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

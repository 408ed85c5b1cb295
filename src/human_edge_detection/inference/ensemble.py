"""Averages the probabilities of several models, whose ROIs and grids may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_areas, padded_rois
from human_edge_detection.core.geometry import AxisTransform
from human_edge_detection.core.images import EncodedImage
from human_edge_detection.core.structures import FloatArray, MaskClass, stacked
from human_edge_detection.inference.encoders import of_sizes
from human_edge_detection.masks.paste import paste_at
from human_edge_detection.runtime.head import HeadSession
from human_edge_detection.runtime.providers import in_passes, pass_size


@dataclass(frozen=True)
class RoiProbs:
    """One model's probabilities of N people, and the regions that they cover.

    Attributes:
        probs: float32 [N, 3, M, M], classes as in ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels; empty where the model saw nothing.
    """

    probs: FloatArray
    rois_xyxy: FloatArray


def mean_probs(members: Sequence[RoiProbs], rois_xyxy: FloatArray, side: int) -> FloatArray:
    """The mean of several models' probabilities, float32 [N, 3, side, side].

    A model counts within its own ROI alone: beyond it, the mean is that of the others. A bin that
    no model covers is background.

    Args:
        members: at least one, of the same people; margins and grids may differ.
        rois_xyxy: float32 [N, 4] source pixels, the regions of the mean, which hold the others.
        side: bins along each side.
    """
    total = np.zeros((len(rois_xyxy), len(MaskClass), side, side), np.float32)
    cover = np.zeros((len(rois_xyxy), 1, side, side), np.float32)
    for member in members:
        probs, weights = _on_grid(member, rois_xyxy, side)
        total += probs * weights
        cover += weights
    unseen = cover == 0
    total[:, MaskClass.BACKGROUND, None][unseen] = 1
    cover[unseen] = 1
    total /= cover
    return total


def _on_grid(member: RoiProbs, rois_xyxy: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
    """The probabilities in the bins of other ROIs, and the covered fraction of each bin.

    Returns:
        float32 [N, 3, side, side] and [N, 1, side, side].
    """
    own = member.rois_xyxy
    seen = (box_areas(own) > 0) & (box_areas(rois_xyxy) > 0)
    weights = np.zeros((len(own), 1, side, side), np.float32)
    if member.probs.shape[-1] == side and np.array_equal(own, rois_xyxy):
        weights[seen] = 1
        return member.probs, weights
    probs = np.zeros((len(own), len(MaskClass), side, side), np.float32)
    for row in np.flatnonzero(seen):
        place = _in_bins(own[row], rois_xyxy[row], side)
        probs[row] = paste_at(member.probs[row], place, (0, 0, side, side))
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
    """The fraction of each of ``side`` unit cells that an interval covers, float32 [side]."""
    cells = np.arange(side, dtype=np.float32)
    shared = np.minimum(low_high[1], cells + 1) - np.maximum(low_high[0], cells)
    return np.asarray(np.clip(shared, 0, 1), np.float32)


@dataclass(frozen=True)
class Member:
    """One head of an ensemble, and what it reads.

    Attributes:
        head: the open head.
        views: numbers of the pictures of a photo that its feature maps come from: one, or the full
            and the half size (``encoders``).
        maps: indices of the maps of that network that it takes, in its own order.
    """

    head: HeadSession
    views: tuple[int, ...]
    maps: tuple[int, ...]

    def __call__(
        self,
        photos: Sequence[EncodedImage],
        boxes: Sequence[FloatArray],
        rois: Sequence[FloatArray],
    ) -> list[RoiProbs]:
        """The probabilities of each photo's people; those of an empty box are background.

        Args:
            photos: any number; on a GPU they pass through the head together.
            boxes: float32 [N, 4] source pixels of each photo.
            rois: float32 [N, 4] source pixels, the boxes grown by the head's own margin.
        """
        seen = [(box_areas(b) > 0) & (box_areas(r) > 0) for b, r in zip(boxes, rois, strict=True)]
        if len(self.views) == 1:
            counts = [own[None] for own in seen]
        else:
            full = [(photo, *photo.others)[self.views[0]].prepared for photo in photos]
            sized = map(of_sizes, boxes, full)
            counts = [own & of_both for own, of_both in zip(seen, sized, strict=True)]
        parts = []
        for place, view in enumerate(self.views):
            pictures = [(photo, *photo.others)[view] for photo in photos]
            rows = [own[place] for own in counts]
            parts.append(self._of_view(pictures, rois, rows))
        means = map(_mean, zip(*parts, strict=True), counts)
        return [RoiProbs(mean, own) for mean, own in zip(means, rois, strict=True)]

    def _of_view(
        self,
        pictures: Sequence[EncodedImage],
        rois: Sequence[FloatArray],
        rows: Sequence[NDArray[np.bool_]],
    ) -> list[FloatArray]:
        """The probabilities float32 [K, 3, M, M] of some of each picture's people."""
        found: list[FloatArray] = []
        for some in in_passes(range(len(pictures)), self.head.provider, self.head.batch):
            inputs = [
                _numbered(place, pictures[i].prepared.transform.to_input(rois[i][rows[i]]))
                for place, i in enumerate(some)
            ]
            size = pass_size(len(some), self.head.provider)
            maps = [stacked([pictures[i].features[m] for i in some], size) for m in self.maps]
            probs = self.head.probabilities(maps, np.concatenate(inputs))
            found += np.split(probs, np.cumsum([len(part) for part in inputs])[:-1])
        return found


def _numbered(number: int, rois: FloatArray) -> FloatArray:
    """ROIs float32 [N, 4] with the index of their photo before them, [N, 5]."""
    return np.insert(rois, 0, number, axis=1)


def _mean(parts: Sequence[FloatArray], counts: NDArray[np.bool_]) -> FloatArray:
    """Each person's mean probabilities float32 [N, 3, M, M] over the views that count.

    Args:
        parts: float32 [K, 3, M, M] of each view, of the people whom it counts for.
        counts: bool [views, N]; a person with no view is background.
    """
    if len(parts) == 1 and counts.all():
        return parts[0]
    mean = np.zeros((counts.shape[1], *parts[0].shape[1:]), np.float32)
    for probs, rows in zip(parts, counts, strict=True):
        mean[rows] += probs
    of_both = counts.sum(axis=0) > 1
    mean[of_both] /= counts.sum(axis=0)[of_both, None, None, None]
    mean[~counts.any(axis=0), MaskClass.BACKGROUND] = 1
    return mean


class Ensemble:
    """Heads whose probabilities are averaged; a single one is passed through.

    Heads may differ in their margin around a box and in their number of bins: the masks then
    cover the widest region with the finest grid.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)

    def __call__(
        self, photos: Sequence[EncodedImage], boxes: Sequence[FloatArray]
    ) -> list[RoiProbs]:
        """Mean probabilities of the people in each photo's boxes float32 [N, 4], source pixels."""
        sizes = [photo.prepared.size_hw for photo in photos]
        margins = [member.head.facts.roi_padding for member in self._members]
        rois = {
            margin: [padded_rois(own, margin, size) for own, size in zip(boxes, sizes, strict=True)]
            for margin in dict.fromkeys(margins)
        }
        found = [
            member(photos, boxes, rois[margin])
            for member, margin in zip(self._members, margins, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        side = max(member.head.facts.mask_size for member in self._members)
        return [
            RoiProbs(mean_probs(own, widest, side), widest)
            for *own, widest in zip(*found, rois[max(margins)], strict=True)
        ]

    @property
    def provider(self) -> str:
        """The execution provider of the first head."""
        return self._members[0].head.provider

    def close(self) -> None:
        """Free the heads' sessions."""
        for member in self._members:
            member.head.close()

"""Limits of a score besides the model: the 56×56 grid, and inexact boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.geometry import crop_mask
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Photo, decode_mask
from human_edge_detection.data.augment import jitter_boxes
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.data.targets import PhotoMasks, roi_targets
from human_edge_detection.evaluation.evaluate import Evaluation, image_mask, score_person
from human_edge_detection.evaluation.metrics import confusion_matrix

JITTER_AMOUNTS = (0.05, 0.1, 0.2)
"""Largest shifts of a box's edges, as fractions of its side."""


class JitteredPhotos(PhotoDataset):
    """A validation set with shifted boxes, each edge by up to ``amount`` times the box's side.

    The shifts depend on the photo's position alone.
    """

    def __init__(self, photos: Sequence[Photo], spec: ModelSpec, amount: float) -> None:
        super().__init__(photos, spec, seed=0)
        self.amount = amount

    def person_boxes(self, index: int) -> FloatArray:
        """The shifted boxes float32 [P, 4] of a photo's people, source pixels."""
        rng = np.random.default_rng((self.seed, index))
        return jitter_boxes(super().person_boxes(index), self.amount, rng)


def ceiling(
    photos: Sequence[Photo],
    min_side: float,
    *,
    mask_size: int = 56,
    roi_padding: float = 0.1,
    is_soft: bool = False,
) -> Evaluation:
    """The scores of the true masks after crop and paste: the upper bound that the grid sets.

    No picture is opened. ``is_soft`` keeps each bin's coverage 0…1, instead of the 0 or 1 of a
    training target.
    """
    scores = []
    for photo in photos:
        masks = PhotoMasks(photo)
        for index, person in enumerate(photo.people):
            if not (person.is_target and masks.known[index]):
                continue
            truth = decode_mask(person, photo.size_hw)
            roi = padded_rois(person.box_xyxy[None], roi_padding, photo.size_hw)[0]
            coverage = crop_mask(truth, roi, mask_size)
            labels = roi_targets(masks, roi[None], np.array([index]), mask_size)[0]
            grid = coverage if is_soft else np.asarray(labels == MaskClass.TARGET, np.float32)
            scores.append(
                score_person(
                    photo,
                    person,
                    truth=truth,
                    predicted=image_mask(grid, roi, photo.size_hw),
                    confusion=confusion_matrix(labels, labels),
                    roi_xyxy=roi,
                    labels=labels,
                )
            )
    return Evaluation(tuple(scores), {}, min_side)

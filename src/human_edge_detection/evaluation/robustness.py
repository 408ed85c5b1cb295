"""Limits of a score besides the model: the 56×56 grid, and inexact boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.boxes import padded_rois
from human_edge_detection.core.geometry import crop_mask, letterbox
from human_edge_detection.core.images import read_image
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import FloatArray, MaskClass, RoiSample
from human_edge_detection.data.annotations import Photo, check_size, decode_mask
from human_edge_detection.data.augment import jitter_boxes
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.data.targets import PhotoMasks, roi_targets
from human_edge_detection.evaluation.evaluate import Evaluation, image_mask, score_person
from human_edge_detection.evaluation.metrics import confusion_matrix

JITTER_AMOUNTS = (0.05, 0.1, 0.2)
"""Largest shifts of a box's edges, as fractions of its side."""


class JitteredPhotos(PhotoDataset):
    """A validation set with shifted boxes, each edge by up to ``amount`` times the box's side.

    Args:
        photos: annotated photos.
        spec: geometry of the model that reads them.
        amount: largest shift of an edge, as a fraction of the box's side.
        seed: seed of the shifts, which depend on it and the photo's position alone.
    """

    def __init__(
        self, photos: Sequence[Photo], spec: ModelSpec, amount: float, seed: int = 0
    ) -> None:
        super().__init__(photos, spec, seed=seed)
        self.amount = amount

    def __getitem__(self, key: int | tuple[int, int]) -> RoiSample:
        """The photo at a position with shifted ROIs, and targets cut by them."""
        index = key if isinstance(key, int) else key[1]
        photo = self.photos[index]
        image = read_image(photo.file)
        check_size(photo, image)
        view, transform = letterbox(image, self.spec.image_size)
        masks = PhotoMasks(photo)
        people = [i for i, p in enumerate(photo.people) if p.is_target and masks.known[i]]
        ids = np.array([photo.people[i].id for i in people], np.int64)
        rois = self._rois(index, ids)
        labels = roi_targets(masks, rois, np.array(people, np.int64), self.spec.mask_size)
        return RoiSample(view, transform.to_input(rois), labels, ids, index)

    def rois_source(self, sample: RoiSample) -> FloatArray:
        """The shifted ROIs float32 [N, 4] in source pixels."""
        return self._rois(sample.photo_index, sample.person_ids)

    def _rois(self, index: int, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
        photo = self.photos[index]
        boxes = np.array([p.box_xyxy for p in photo.people], np.float32).reshape(-1, 4)
        shifted = jitter_boxes(boxes, self.amount, np.random.default_rng((self.seed, index)))
        rows = {person.id: row for row, person in enumerate(photo.people)}
        kept = shifted[[rows[int(i)] for i in ids]]
        return padded_rois(kept, self.spec.roi_padding, photo.size_hw)


def ceiling(
    photos: Sequence[Photo],
    min_side: float,
    *,
    mask_size: int = 56,
    roi_padding: float = 0.1,
    is_soft: bool = False,
) -> Evaluation:
    """The scores of the true masks after crop and paste: the upper bound that the grid sets.

    Args:
        photos: annotated photos; their pictures are not opened.
        min_side: shortest box side, source pixels, that counts in ``target_iou_image``.
        mask_size: bins along the grid's side.
        roi_padding: margin around a box on each side, as a fraction of that side.
        is_soft: keep each bin's coverage 0…1, instead of the 0 or 1 of a training target.
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

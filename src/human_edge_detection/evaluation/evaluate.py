"""Runs a model over a validation set and scores every person: mask IoUs and what makes it hard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_iou
from human_edge_detection.core.rle import Rle, encode_mask
from human_edge_detection.core.structures import FloatArray, Infer, MaskClass, RoiSample
from human_edge_detection.data.annotations import Person, Photo, decode_mask
from human_edge_detection.data.dataset import PhotoDataset
from human_edge_detection.evaluation.metrics import (
    BoolArray,
    IntArray,
    boundary_iou,
    class_ious,
    confusion_matrix,
    image_iou,
    pooled_ious,
)
from human_edge_detection.masks.paste import paste_mask
from human_edge_detection.masks.probabilities import softmax

EDGE_MARGIN = 2.0
"""Pixels from the image's edge within which a box counts as truncated by it."""


@dataclass(frozen=True)
class PersonScore:
    """The comparison of one annotated person with the predicted mask.

    Attributes:
        photo_id: the photo's id in the annotation file.
        person_id: the annotation's id.
        box_xyxy: float32 [4], source pixels.
        area: annotated area, square source pixels.
        overlap: largest box IoU with another annotated person of the photo.
        is_truncated: whether the box reaches the image's edge.
        iou: mask IoU at source resolution, 0 for a person that was missed.
        boundary_iou: Boundary IoU at source resolution.
        confusion: int64 [3, 3] pixel counts at 56×56, row the true class.
        mask_rle: the predicted mask as COCO's compressed RLE.
        roi_xyxy: float32 [4], the region that ``labels`` covers, source pixels.
        labels: uint8 [M, M], the predicted classes.
    """

    photo_id: int
    person_id: int
    box_xyxy: FloatArray
    area: float
    overlap: float
    is_truncated: bool
    iou: float
    boundary_iou: float
    confusion: IntArray
    mask_rle: Rle
    roi_xyxy: FloatArray
    labels: NDArray[np.uint8]

    @property
    def min_side(self) -> float:
        """The box's shorter side, source pixels."""
        return float((self.box_xyxy[2:] - self.box_xyxy[:2]).min())

    @property
    def iou_roi(self) -> float:
        """Target-class IoU at 56×56; NaN where the ROI has no target pixel."""
        return float(class_ious(self.confusion)[MaskClass.TARGET])

    @property
    def has_non_target(self) -> bool:
        """Whether other people's pixels lie in the ROI."""
        return bool(self.confusion[MaskClass.NON_TARGET].sum())


def nearest_overlap(person: Person, photo: Photo) -> float:
    """Largest box IoU of a person with any other single person of the photo, 0 when alone."""
    others = [p.box_xyxy for p in photo.people if p.id != person.id and not p.is_crowd]
    if not others:
        return 0.0
    return float(box_iou(person.box_xyxy[None], np.stack(others)).max())


def reaches_edge(box_xyxy: FloatArray, size_hw: tuple[int, int]) -> bool:
    """Whether a box comes within ``EDGE_MARGIN`` pixels of the image's edge."""
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    height, width = size_hw
    return min(x1, y1, width - x2, height - y2) < EDGE_MARGIN


def score_person(
    photo: Photo,
    person: Person,
    truth: BoolArray,
    predicted: BoolArray,
    confusion: IntArray,
    roi_xyxy: FloatArray,
    labels: NDArray[np.uint8],
) -> PersonScore:
    """The score of one person from the true and predicted masks, bool [H, W], source frame.

    ``confusion``, ``roi_xyxy`` and ``labels`` are kept as :class:`PersonScore` describes them.
    """
    return PersonScore(
        photo_id=photo.id,
        person_id=person.id,
        box_xyxy=person.box_xyxy,
        area=person.area,
        overlap=nearest_overlap(person, photo),
        is_truncated=reaches_edge(person.box_xyxy, photo.size_hw),
        iou=image_iou(predicted, truth),
        boundary_iou=boundary_iou(predicted, truth),
        confusion=confusion,
        mask_rle=encode_mask(predicted),
        roi_xyxy=np.asarray(roi_xyxy, np.float32),
        labels=labels,
    )


LossParts = Callable[[FloatArray, NDArray[np.uint8]], Mapping[str, float]]
"""Mean loss parts by name, from logits [N, 3, M, M] and targets [N, M, M]."""

MIN_SIDE = 12.0
"""Shortest box side, source pixels, of a person that counts in ``target_iou_image``."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of every person of a validation set, and the mean losses.

    Attributes:
        scores: one per ROI, in the order of the photos.
        losses: mean loss parts over the ROIs; empty when no loss was asked for.
        min_side: shortest box side, source pixels, that counts in ``target_iou_image``.
    """

    scores: tuple[PersonScore, ...]
    losses: dict[str, float] = field(default_factory=dict)
    min_side: float = MIN_SIDE

    @property
    def counted(self) -> tuple[PersonScore, ...]:
        """The people large enough for ``target_iou_image``."""
        return tuple(score for score in self.scores if score.min_side >= self.min_side)

    @property
    def matrix(self) -> IntArray:
        """Pooled confusion int64 [3, 3] of all ROIs, row the true class."""
        return np.asarray(sum((s.confusion for s in self.scores), np.zeros((3, 3), np.int64)))

    @property
    def miou(self) -> float:
        """The mean of target and non-target IoU, pooled over all ROIs."""
        return self.summary()["miou"]

    def summary(self) -> dict[str, float]:
        """Loss parts, ``miou``, class IoUs, ``target_iou_roi`` and ``target_iou_image``."""
        return {
            **self.losses,
            **{name: float(iou) for name, iou in pooled_ious(self.matrix).items()},
            "target_iou_roi": mean_of([score.iou_roi for score in self.scores]),
            "target_iou_image": mean_of([score.iou for score in self.counted]),
        }


def mean_of(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN when there are none."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")


def evaluate(
    dataset: PhotoDataset,
    infer: Infer,
    *,
    loss: LossParts | None = None,
    batches: Iterable[Sequence[RoiSample]] | None = None,
    min_side: float = MIN_SIDE,
) -> Evaluation:
    """The scores of every person of ``dataset`` whose mask is known.

    Args:
        dataset: photos and their prepared samples, in validation mode.
        infer: the model.
        loss: loss parts to average over the ROIs.
        batches: the samples in batches, from a loader with workers; otherwise read in order.
        min_side: shortest box side, source pixels, that counts in ``target_iou_image``.
    """
    scores: list[PersonScore] = []
    totals: dict[str, float] = {}
    for batch in _in_order(dataset) if batches is None else batches:
        counts = [len(sample.rois) for sample in batch]
        if not sum(counts):
            continue
        logits = np.asarray(infer(batch), np.float32)
        if len(logits) != sum(counts):
            raise ValueError(f"infer must return {sum(counts)} masks, but returned {len(logits)}")
        if loss is not None:
            targets = np.concatenate([sample.targets for sample in batch])
            for name, value in loss(logits, targets).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(logits)
        for sample, own in zip(batch, np.split(logits, np.cumsum(counts)[:-1]), strict=True):
            scores += score_sample(dataset, sample, own)
    losses = {name: total / len(scores) for name, total in totals.items()}
    return Evaluation(tuple(scores), losses, min_side)


def score_sample(
    dataset: PhotoDataset, sample: RoiSample, logits: FloatArray
) -> Iterator[PersonScore]:
    """The scores of one photo's people from their logits float32 [N, 3, M, M]."""
    photo = dataset.photos[sample.photo_index]
    people: dict[int, Person] = {person.id: person for person in photo.people}
    labels = logits.argmax(axis=1).astype(np.uint8)
    target_probs = softmax(logits)[:, MaskClass.TARGET]
    for n, roi in enumerate(dataset.rois_source(sample)):
        person = people[int(sample.person_ids[n])]
        yield score_person(
            photo,
            person,
            truth=decode_mask(person, photo.size_hw),
            predicted=image_mask(target_probs[n], roi, photo.size_hw),
            confusion=confusion_matrix(labels[n], sample.targets[n]),
            roi_xyxy=roi,
            labels=labels[n],
        )


def image_mask(target: FloatArray, roi_xyxy: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    """The mask bool [H, W] of probabilities float32 [M, M] over a ROI in source pixels."""
    window, (x1, y1, x2, y2) = paste_mask(target, roi_xyxy, size_hw)
    mask = np.zeros(size_hw, np.bool_)
    mask[y1:y2, x1:x2] = window
    return mask


def _in_order(dataset: PhotoDataset) -> Iterator[list[RoiSample]]:
    for start in range(0, len(dataset), 8):
        yield [dataset[i] for i in range(start, min(start + 8, len(dataset)))]

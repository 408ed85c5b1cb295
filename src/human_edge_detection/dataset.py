"""Photos with all their ROIs and targets, augmented, and batches of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from human_edge_detection.augment import Augmentation, jitter_boxes, random_view
from human_edge_detection.coco import Person, Photo, check_size
from human_edge_detection.copy_paste import cut_person, paste_person
from human_edge_detection.errors import InputError
from human_edge_detection.geometry import (
    AxisTransform,
    box_areas,
    clip_boxes,
    letterbox,
    letterbox_transform,
    padded_rois,
)
from human_edge_detection.images import read_image
from human_edge_detection.model import ModelSpec
from human_edge_detection.structures import BoxTargets, FloatArray, ImageArray, RoiSample
from human_edge_detection.targets import PhotoMasks, roi_targets

LOG = logging.getLogger(__name__)
MIN_VISIBLE = 0.4
"""Part of a box that a zoomed view must still show for the person to be a target in it."""
MIN_DETECTED = 4.0
"""Smallest box side, input pixels, of a person whom a detector should find."""
MAX_PASTED = 2

Key = tuple[int, int]
"""Epoch and position of a photo: together with the seed they fix every random choice."""


@dataclass(frozen=True)
class Batch:
    """Some prepared photos, stacked.

    Attributes:
        images: uint8 [B, 3, H, W] RGB, or None where the features are cached.
        rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels.
        targets: uint8 [N, M, M].
        samples: what was stacked.
    """

    images: Tensor | None
    rois: Tensor
    targets: Tensor
    samples: tuple[RoiSample, ...]


class PhotoDataset(Dataset[RoiSample]):
    """Prepared photos with the ROIs and targets of their people.

    Args:
        photos: annotated photos.
        spec: geometry of the model that reads them.
        augmentation: random changes for training; None for validation, where every person with
            a mask is a target, in annotation order.
        min_roi_size: smallest box side, source pixels, of a target in training.
        max_rois: most targets of one photo in training, drawn at random.
        seed: seed of every random choice.
        with_images: False where the features are cached: no photo is opened, and of the
            augmentation only the flip and the box jitter remain.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        spec: ModelSpec,
        augmentation: Augmentation | None = None,
        *,
        min_roi_size: float = 16.0,
        max_rois: int = 16,
        seed: int = 42,
        with_images: bool = True,
    ) -> None:
        self.photos = photos
        self.spec = spec
        self.augmentation = augmentation
        self.min_roi_size, self.max_rois = min_roi_size, max_rois
        self.seed, self.with_images = seed, with_images

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, key: int | Key) -> RoiSample:
        """The photo at a position; in training the key also names the epoch.

        Raises:
            InputError: if the photo cannot be read.
        """
        epoch, index = (0, key) if isinstance(key, int) else key
        if self.augmentation is None:
            return self._plain_sample(index)
        rng = np.random.default_rng((self.seed, epoch, index))
        return self._random_sample(index, self.augmentation, rng)

    def rois_source(self, sample: RoiSample) -> FloatArray:
        """The ROIs float32 [N, 4] in source pixels of a validation sample."""
        photo = self.photos[sample.photo_index]
        people = {person.id: person for person in photo.people}
        boxes = _boxes_of([people[int(i)] for i in sample.person_ids])
        return padded_rois(boxes, self.spec.roi_padding, photo.size_hw)

    def _plain_sample(self, index: int) -> RoiSample:
        photo = self.photos[index]
        people = [i for i, person in enumerate(photo.people) if person.is_target]
        boxes = _boxes_of([photo.people[i] for i in people])
        view, transform = self._view(photo, self._open(photo), None, None)
        return self._sample(index, photo, view, transform, people, boxes, False)

    def _random_sample(
        self, index: int, amount: Augmentation, rng: np.random.Generator
    ) -> RoiSample:
        photo = self.photos[index]
        image = self._open(photo)
        if image is not None and amount.paste and rng.uniform() < amount.paste:
            image, photo = self._with_pasted(image, photo, rng)
        view, transform = self._view(photo, image, amount, rng)
        people = [i for i, person in enumerate(photo.people) if person.is_target]
        boxes = jitter_boxes(_boxes_of([photo.people[i] for i in people]), amount.box, rng)
        shown = self._visible_part(boxes, transform, photo.size_hw)
        sides = (shown[:, 2:] - shown[:, :2]).min(axis=1, initial=np.inf)
        usable = box_areas(shown) >= MIN_VISIBLE * box_areas(boxes)
        kept = np.flatnonzero(usable & (sides >= self.min_roi_size))
        if len(kept) > self.max_rois:
            kept = np.sort(rng.choice(kept, self.max_rois, replace=False))
        chosen = [people[i] for i in kept]
        found = self._box_targets(photo, transform)
        return self._sample(
            index, photo, view, transform, chosen, shown[kept], transform.scale_xy[0] < 0, found
        )

    def _with_pasted(
        self, image: ImageArray, photo: Photo, rng: np.random.Generator
    ) -> tuple[ImageArray, Photo]:
        for _ in range(int(rng.integers(1, MAX_PASTED + 1))):
            donor = self.photos[int(rng.integers(len(self.photos)))]
            try:
                donor_image = self._open(donor)
            except InputError:
                continue  # reported when the donor itself is trained on
            cutout = None if donor_image is None else cut_person(donor_image, donor, rng)
            if cutout is not None:
                image, photo = paste_person(image, photo, cutout, rng)
        return image, photo

    def _box_targets(self, photo: Photo, transform: AxisTransform) -> BoxTargets:
        """Everybody's boxes in input pixels; those that the view cuts off are ignored."""
        boxes = _boxes_of(photo.people)
        shown = self._visible_part(boxes, transform, photo.size_hw)
        is_crowd = np.array([person.is_crowd for person in photo.people], np.bool_)
        whole = box_areas(shown) >= MIN_VISIBLE * box_areas(boxes)
        inside = box_areas(shown) > 0
        found = transform.to_input(shown)
        large = (found[:, 2:] - found[:, :2]).min(axis=1, initial=np.inf) >= MIN_DETECTED
        wanted = whole & large & ~is_crowd
        return BoxTargets(found[wanted], found[inside & ~wanted], photo.exhaustive)

    def _open(self, photo: Photo) -> ImageArray | None:
        if not self.with_images:
            return None
        image = read_image(photo.file)
        check_size(photo, image)
        return image

    def _view(
        self,
        photo: Photo,
        image: ImageArray | None,
        amount: Augmentation | None,
        rng: np.random.Generator | None,
    ) -> tuple[ImageArray, AxisTransform]:
        if image is None:
            transform = letterbox_transform(photo.size_hw, self.spec.image_size)
            if amount is not None and rng is not None and amount.flip and rng.uniform() < 0.5:
                transform = transform.then(AxisTransform.flip_x(self.spec.image_size[1]))
            return np.zeros((0, 0, 3), np.uint8), transform
        if amount is None or rng is None:
            return letterbox(image, self.spec.image_size)
        return random_view(image, self.spec.image_size, amount, rng)

    def _visible_part(
        self, boxes: FloatArray, transform: AxisTransform, size_hw: tuple[int, int]
    ) -> FloatArray:
        height, width = self.spec.image_size
        canvas = np.array([[0, 0, width, height]], np.float32)
        seen = clip_boxes(transform.to_source(canvas), size_hw)[0]
        return np.clip(boxes, np.tile(seen[:2], 2), np.tile(seen[2:], 2)).astype(np.float32)

    def _sample(
        self,
        index: int,
        photo: Photo,
        image: ImageArray,
        transform: AxisTransform,
        people: list[int],
        boxes: FloatArray,
        is_mirrored: bool,
        found: BoxTargets | None = None,
    ) -> RoiSample:
        masks = PhotoMasks(photo)
        known = masks.known[people]  # an outline that cannot be decoded has no target
        people = [i for i, is_known in zip(people, known, strict=True) if is_known]
        rois = padded_rois(boxes[known], self.spec.roi_padding, photo.size_hw)
        labels = roi_targets(masks, rois, np.array(people, np.int64), self.spec.mask_size)
        if is_mirrored:
            labels = np.ascontiguousarray(labels[:, :, ::-1])
        ids = np.array([photo.people[i].id for i in people], np.int64)
        return RoiSample(image, transform.to_input(rois), labels, ids, index, is_mirrored, found)


def _boxes_of(people: Sequence[Person]) -> FloatArray:
    boxes = [person.box_xyxy for person in people]
    return np.stack(boxes).astype(np.float32) if boxes else np.zeros((0, 4), np.float32)


class ReadablePhotos(Dataset["RoiSample | None"]):
    """A data set that answers None, and says so in the log, for a photo it cannot read."""

    def __init__(self, dataset: PhotoDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | Key) -> RoiSample | None:
        try:
            return self.dataset[key]
        except InputError as error:
            LOG.warning("left out: %s", error)
            return None


class EpochBatches(Sampler[list[Key]]):
    """The keys of one epoch in batches: a permutation fixed by seed and epoch.

    Args:
        count: photos in the data set.
        batch_size: photos a batch; the last batch may be smaller.
        seed: seed of the order.
        epoch: number of the epoch.
        skip: batches at the start that were already trained on.
        rank: number of this process.
        processes: processes that share each group of ``processes * batch_size`` photos; all have
            as many batches, but the last may be empty.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        epoch: int,
        skip: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        keys = [(epoch, int(index)) for index in order]
        together = batch_size * processes
        chunks = [keys[i : i + together] for i in range(0, count, together)]
        self.chunks = [chunk[rank::processes] for chunk in chunks[skip:]]

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.chunks)


class PresentBatches(Sampler[list[Key]]):
    """The batches of whichever epoch is set as ``present``, so that one loader serves them all."""

    present: EpochBatches

    def __init__(self) -> None:
        """No epoch is set yet."""

    def __len__(self) -> int:
        return len(self.present)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.present)


def collate(samples: Sequence[RoiSample | None]) -> Batch:
    """The readable ones of some samples as one batch."""
    known = tuple(sample for sample in samples if sample is not None)
    with_images = bool(known) and all(sample.image.size for sample in known)
    images = np.stack([sample.image for sample in known]) if with_images else None
    rois = [
        np.concatenate([np.full((len(sample.rois), 1), i, np.float32), sample.rois], axis=1)
        for i, sample in enumerate(known)
    ]
    targets = [sample.targets for sample in known]
    return Batch(
        images=None if images is None else torch.from_numpy(images).permute(0, 3, 1, 2),
        rois=torch.from_numpy(np.concatenate(rois) if rois else np.zeros((0, 5), np.float32)),
        targets=torch.from_numpy(np.concatenate(targets or [np.zeros((0, 1, 1), np.uint8)])),
        samples=known,
    )

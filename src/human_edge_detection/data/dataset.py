"""Photos with all their ROIs and targets, augmented, and batches of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from human_edge_detection.core.boxes import box_areas, clip_boxes, padded_rois
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import AxisTransform, letterbox, letterbox_transform
from human_edge_detection.core.images import read_image
from human_edge_detection.core.spec import ModelSpec
from human_edge_detection.core.structures import BoxTargets, FloatArray, ImageArray, RoiSample
from human_edge_detection.data.annotations import Person, Photo, check_size
from human_edge_detection.data.augment import (
    Augmentation,
    cut_person,
    jitter_boxes,
    paste_person,
    random_view,
)
from human_edge_detection.data.targets import PhotoMasks, roi_targets

LOG = logging.getLogger(__name__)
MIN_VISIBLE = 0.4
"""Least fraction of a box inside a zoomed view for the person to be a target in it."""
MIN_DETECTED = 4.0
"""Smallest box side, input pixels, of a person that a detector should find."""
MAX_PASTED = 2

Key = tuple[int, int]
"""Epoch and position of a photo; with the seed they determine every random choice."""


class PhotoDataset:
    """Prepared photos with the ROIs and targets of their people.

    Args:
        photos: annotated photos.
        spec: geometry of the model that reads them.
        augmentation: random changes for training; None for validation, where every person with
            a mask is a target, in annotation order.
        min_roi_size: smallest box side, source pixels, of a target in training.
        max_rois: most targets of one photo in training, drawn at random.
        seed: of every random choice.
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

    def boxes_source(self, sample: RoiSample) -> FloatArray:
        """The targets' boxes float32 [N, 4] in source pixels of a validation sample."""
        people = self.photos[sample.photo_index].people
        rows = {person.id: row for row, person in enumerate(people)}
        chosen = [rows[int(i)] for i in sample.person_ids]
        return self.person_boxes(sample.photo_index)[chosen]

    def rois_source(self, sample: RoiSample) -> FloatArray:
        """The ROIs float32 [N, 4] in source pixels of a validation sample."""
        size_hw = self.photos[sample.photo_index].size_hw
        return padded_rois(self.boxes_source(sample), self.spec.roi_padding, size_hw)

    def person_boxes(self, index: int) -> FloatArray:
        """The boxes float32 [P, 4] of a photo's people that validation uses, source pixels."""
        return _boxes_of(self.photos[index].people)

    def _plain_sample(self, index: int) -> RoiSample:
        photo = self.photos[index]
        people = [i for i, person in enumerate(photo.people) if person.is_target]
        view, transform = self._view(photo, self._open(photo), None, None)
        boxes = self.person_boxes(index)[people]
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
        """All people's boxes in input pixels; those that the view cuts off are to be ignored."""
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


class ReadablePhotos:
    """The samples of a dataset, with None and a log line for each photo that cannot be read."""

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


def _boxes_of(people: Sequence[Person]) -> FloatArray:
    boxes = [person.box_xyxy for person in people]
    return np.stack(boxes).astype(np.float32) if boxes else np.zeros((0, 4), np.float32)

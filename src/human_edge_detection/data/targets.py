"""Three-class targets of ROIs, cut out of a photo's masks in the source frame."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import crop_mask, mask_window, pixel_bounds
from human_edge_detection.core.structures import (
    IGNORE_INDEX,
    NOT_TARGET_INDEX,
    Bounds,
    FloatArray,
    MaskClass,
    as_boxes,
)
from human_edge_detection.data.annotations import Person, Photo, decode_mask

_LOGGER = logging.getLogger(__name__)
MAX_MASK_BYTES = 512 << 20
"""Memory for the masks of one photo; its other people are taken as boxes of unknown shape."""


class PhotoMasks:
    """The decoded masks of one photo, from which windows are cut for many ROIs.

    Each mask is stored cut to its extent, so that memory grows with the areas of the people.

    Attributes:
        size_hw: height and width of the photo.
        exhaustive: whether all people in the photo are annotated.
        known: bool [P], True for the people of ``photo.people`` with a mask of their own.
    """

    def __init__(self, photo: Photo) -> None:
        """Decode every mask of ``photo`` once.

        Raises:
            InputError: if they do not fit into memory.
        """
        self.size_hw = photo.size_hw
        self.exhaustive = photo.exhaustive
        self._masks: list[tuple[Bounds, NDArray[np.bool_]] | None] = []
        try:
            self._decode_all(photo)
        except MemoryError as error:
            width, height = photo.size_hw[::-1]
            raise InputError(
                f"{photo.path}: the masks of {len(photo.people)} people in {width}x{height} pixels "
                "do not fit into memory"
            ) from error
        self.known = np.array([mask is not None for mask in self._masks], np.bool_)

    def _decode_all(self, photo: Photo) -> None:
        self._count = np.zeros(photo.size_hw, np.uint16)
        self._unknown = np.zeros(photo.size_hw, np.bool_)
        free = MAX_MASK_BYTES
        for person in photo.people:
            mask = _decode(person, photo) if free > 0 else None
            trimmed = None
            if mask is None:
                x1, y1, x2, y2 = pixel_bounds(person.box_xyxy, photo.size_hw)
                self._unknown[y1:y2, x1:x2] = True
            elif person.is_crowd:
                self._unknown |= mask
            else:
                x1, y1, x2, y2 = window = mask_window(mask)
                trimmed = window, mask[y1:y2, x1:x2].copy()
                self._count[y1:y2, x1:x2] += trimmed[1]
                free -= trimmed[1].nbytes
            self._masks.append(trimmed)
        if free <= 0:
            _LOGGER.warning("%s: masks of over %d MiB, the rest is taken as boxes of unknown shape",
                            photo.path, MAX_MASK_BYTES >> 20)  # fmt: skip
        self._unknown &= self._count == 0

    def target(self, index: int, window: Bounds) -> NDArray[np.bool_]:
        """Person ``index``'s mask in a window of whole pixels, bool [h, w]."""
        found = self._masks[index]
        if found is None:
            raise ValueError(f"person {index} of the photo has no mask of its own")
        (left, top, right, bottom), mask = found
        x1, y1, x2, y2 = window
        out = np.zeros((y2 - y1, x2 - x1), np.bool_)
        low_x, low_y = max(x1, left), max(y1, top)
        high_x, high_y = min(x2, right), min(y2, bottom)
        if low_x < high_x and low_y < high_y:
            part = mask[low_y - top : high_y - top, low_x - left : high_x - left]
            out[low_y - y1 : high_y - y1, low_x - x1 : high_x - x1] = part
        return out

    def others(self, target: NDArray[np.bool_], window: Bounds) -> NDArray[np.bool_]:
        """Where another person's mask lies, bool [h, w], given the result of :meth:`target`."""
        x1, y1, x2, y2 = window
        return np.asarray(self._count[y1:y2, x1:x2] > target, np.bool_)

    def unknown(self, window: Bounds) -> NDArray[np.bool_]:
        """Where a crowd or a person known only by a box may be, outside all known masks."""
        x1, y1, x2, y2 = window
        return self._unknown[y1:y2, x1:x2]


def _decode(person: Person, photo: Photo) -> NDArray[np.bool_] | None:
    if not person.has_mask:
        return None
    try:
        mask = decode_mask(person, photo.size_hw)
    except InputError as error:
        _LOGGER.warning("%s: %s; taken as a box of unknown shape", photo.path, error)
        return None
    return mask if mask.any() else None


def roi_targets(
    masks: PhotoMasks,
    rois_source: FloatArray,
    person_index: NDArray[np.integer],
    size: int = 56,
) -> NDArray[np.uint8]:
    """The labels uint8 [N, size, size] of each ROI's bins.

    A bin is TARGET if its person covers at least half of it. Otherwise it gets the label of what
    covers most of it: NON_TARGET (another person's mask), ``IGNORE_INDEX`` (a crowd, or a person
    known only by a box) or BACKGROUND, which becomes ``NOT_TARGET_INDEX`` in a photo that is not
    exhaustively annotated.

    Args:
        masks: the photo's masks.
        rois_source: float32 [N, 4] xyxy, source pixels.
        person_index: int [N], position of each ROI's target in ``photo.people``.
        size: bins along each side.
    """
    rois = as_boxes(rois_source, "rois_source")
    labels = np.empty((len(rois), size, size), np.uint8)
    for row, (roi, index) in enumerate(zip(rois, person_index, strict=True)):
        labels[row] = _label_roi(masks, roi, int(index), size)
    return labels


def _label_roi(masks: PhotoMasks, roi: FloatArray, index: int, size: int) -> NDArray[np.uint8]:
    window = pixel_bounds(roi, masks.size_hw)
    local = roi - np.array([window[0], window[1], window[0], window[1]], np.float32)
    target = masks.target(index, window)
    target_part = _coverage(target, local, size)
    others_part = _coverage(masks.others(target, window), local, size)
    unknown_part = _coverage(masks.unknown(window), local, size)
    # The rest of the bin; outlines may overlap a little, which would make it negative.
    nobody_part = np.maximum(1 - target_part - others_part - unknown_part, 0)
    nobody = MaskClass.BACKGROUND if masks.exhaustive else NOT_TARGET_INDEX
    order = np.array([MaskClass.NON_TARGET, IGNORE_INDEX, nobody], np.uint8)  # ties go to the first
    most = np.argmax([others_part, unknown_part, nobody_part], axis=0)
    return np.where(target_part >= 0.5, np.uint8(MaskClass.TARGET), order[most])


def _coverage(mask: NDArray[np.bool_], roi: FloatArray, size: int) -> FloatArray:
    if not mask.any():  # most people stand alone, and area weighting is the slow part
        return np.zeros((size, size), np.float32)
    return crop_mask(mask, roi, size)

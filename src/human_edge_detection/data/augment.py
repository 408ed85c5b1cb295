"""Random changes of a training photo: scale, mirror, colour, box jitter and pasted people.

A person cut out of one photo and pasted over a person in another is an occlusion with exact masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import AxisTransform, letterbox, mask_window
from human_edge_detection.core.rle import encode_mask
from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.data.annotations import Person, Photo, decode_mask

BoolArray = NDArray[np.bool_]

MIN_VISIBLE = 0.35
"""Least visible fraction of a person who stays a target when another is pasted in front."""
SIZE_RANGE = (0.6, 1.4)
"""Size of a pasted person relative to the covered one."""
SHIFT_RANGE = (0.2, 0.8)
"""Sideways shift of a pasted person, in half widths of both together."""
MIN_SIDE = 32
PASTED_ID = -1


@dataclass(frozen=True)
class Augmentation:
    """Strength of each random change; all zero and no flip leaves the photo as it is.

    Attributes:
        zoom: largest relative change of the scale.
        color: largest relative change of brightness, contrast and saturation.
        box: largest shift of each box edge, as a fraction of the box's side.
        flip: mirror half of the photos.
        paste: fraction of the photos into which people from other photos are pasted.
        zoom_middle: scale around which ``zoom`` varies; at 1 the photo just fits.
    """

    zoom: float = 0.0
    color: float = 0.0
    box: float = 0.0
    flip: bool = False
    paste: float = 0.0
    zoom_middle: float = 1.0


@dataclass(frozen=True)
class Cutout:
    """A person cut out of a photo.

    Attributes:
        image: uint8 [h, w, 3] RGB, with the surroundings inside the person's box.
        mask: bool [h, w].
    """

    image: ImageArray
    mask: BoolArray


def random_view(
    image: ImageArray, size_hw: tuple[int, int], amount: Augmentation, rng: np.random.Generator
) -> tuple[ImageArray, AxisTransform]:
    """The photo letterboxed at a random scale, place, orientation and colour.

    Returns:
        uint8 [H, W, 3] and the transform from source to input pixels.
    """
    zoom = amount.zoom_middle * (1 + amount.zoom * rng.uniform(-1, 1))
    anchor = (rng.uniform(), rng.uniform()) if amount.zoom else (0.5, 0.5)
    view, transform = letterbox(image, size_hw, zoom, anchor)
    if amount.flip and rng.uniform() < 0.5:
        view = np.ascontiguousarray(view[:, ::-1])
        transform = transform.then(AxisTransform.flip_x(size_hw[1]))
    if amount.color:
        view = jitter_color(view, amount.color, rng)
    return view, transform


def jitter_color(image: ImageArray, amount: float, rng: np.random.Generator) -> ImageArray:
    """The image uint8 with brightness, contrast and saturation each scaled by 1 ± ``amount``."""
    brightness, contrast, saturation = 1 + amount * rng.uniform(-1, 1, 3)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = float(grey.mean())
    # out = c·b·(s·image + (1 - s)·grey) + (1 - c)·b·mean, in two saturating passes
    mixed = cv2.addWeighted(
        image, saturation, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 1 - saturation, 0
    )
    offset = (1 - contrast) * brightness * mean
    return np.asarray(cv2.addWeighted(mixed, contrast * brightness, mixed, 0, offset), np.uint8)


def jitter_boxes(boxes_xyxy: FloatArray, amount: float, rng: np.random.Generator) -> FloatArray:
    """Boxes float32 [N, 4], each edge shifted by up to ``amount`` times the box's side."""
    sides = np.tile(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 2)
    return (boxes_xyxy + sides * rng.uniform(-amount, amount, sides.shape)).astype(np.float32)


def cut_person(
    image: ImageArray, photo: Photo, rng: np.random.Generator, min_side: int = MIN_SIDE
) -> Cutout | None:
    """A random person of a photo, at least ``min_side`` source pixels wide and high, or None."""
    people = [
        person
        for person in photo.people
        if person.is_target and (person.box_xyxy[2:] - person.box_xyxy[:2]).min() >= min_side
    ]
    if not people:
        return None
    try:
        mask = decode_mask(people[int(rng.integers(len(people)))], photo.size_hw)
    except InputError:
        return None  # logged when the photo itself is trained on
    return cut_mask(image, mask) if mask.any() else None


def cut_mask(image: ImageArray, mask: BoolArray) -> Cutout:
    """The extent of a mask bool [H, W] that is not empty, cut out of the image."""
    x1, y1, x2, y2 = mask_window(mask)
    return Cutout(image[y1:y2, x1:x2], mask[y1:y2, x1:x2])


def visible_part(
    cutout_hw: tuple[int, ...], left: int, top: int, size_hw: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a cutout at ``left, top`` inside an image, and the part of the image it fills."""
    x1, y1 = max(left, 0), max(top, 0)
    x2 = max(x1, min(left + cutout_hw[1], size_hw[1]))
    y2 = max(y1, min(top + cutout_hw[0], size_hw[0]))
    return np.s_[y1 - top : y2 - top, x1 - left : x2 - left], np.s_[y1:y2, x1:x2]


def paste_cutout(
    image: ImageArray, cutout: Cutout, left: int, top: int
) -> tuple[ImageArray, BoolArray]:
    """A copy of the image with the cutout at ``left, top``, and its mask there, bool [H, W]."""
    part, place = visible_part(cutout.mask.shape, left, top, image.shape)
    front = np.zeros(image.shape[:2], np.bool_)
    front[place] = cutout.mask[part]
    pasted = image.copy()
    alpha = cv2.GaussianBlur(cutout.mask.astype(np.float32), (3, 3), 0)[part][..., None]
    mixed = cutout.image[part] * alpha + pasted[place] * (1 - alpha)
    pasted[place] = np.round(mixed).astype(np.uint8)
    return pasted, front


def paste_person(
    image: ImageArray, photo: Photo, cutout: Cutout, rng: np.random.Generator
) -> tuple[ImageArray, Photo]:
    """The photo with the cutout pasted in front of one of its people, and its new annotations.

    Masks and boxes of the people behind shrink to the visible part. A person with less than
    ``MIN_VISIBLE`` of the mask visible becomes a region to ignore. The image, uint8 [H, W, 3] RGB,
    is not changed; ``rng`` chooses the person to cover, size, place and orientation.
    """
    targets = [person for person in photo.people if person.is_target]
    if not targets:
        return image, photo
    covered = targets[int(rng.integers(len(targets)))]
    patch, mask = _resized(cutout, covered.box_xyxy, photo.size_hw, rng)
    left, top = _place(covered.box_xyxy, mask.shape, rng)
    part, _ = visible_part(mask.shape, left, top, photo.size_hw)
    shown = mask[part]
    if min(shown.shape) < 4 or shown.sum() < MIN_VISIBLE * mask.sum():
        return image, photo
    pasted, front = paste_cutout(image, Cutout(patch, mask), left, top)
    behind = [_hidden(person, front, photo.size_hw) for person in photo.people]
    new_id = PASTED_ID + min([0, *(person.id for person in photo.people)])
    added = Person(new_id, _box(front), encode_mask(front), False, float(front.sum()))
    people = (*(person for person in behind if person is not None), added)
    return pasted, replace(photo, people=people)


def _resized(
    cutout: Cutout, box: FloatArray, size_hw: tuple[int, int], rng: np.random.Generator
) -> tuple[ImageArray, BoolArray]:
    height, width = cutout.mask.shape
    wanted = np.sqrt((box[2] - box[0]) * (box[3] - box[1])) * rng.uniform(*SIZE_RANGE)
    scale = float(wanted / np.sqrt(height * width))
    # A cutout enlarged more than that would be blurred unlike any photo.
    scale = min(scale, 2.0, size_hw[0] / height, size_hw[1] / width)
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    patch = np.asarray(cv2.resize(cutout.image, size, interpolation=how), np.uint8)
    soft = cv2.resize(cutout.mask.astype(np.float32), size, interpolation=how)
    mask = np.asarray(soft >= 0.5, np.bool_)
    if rng.uniform() < 0.5:
        patch, mask = patch[:, ::-1], np.ascontiguousarray(mask[:, ::-1])
    return patch, mask


def _place(box: FloatArray, size_hw: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    """Left and top of a cutout: to one side of the person, feet near the person's feet."""
    x1, _, x2, y2 = (float(value) for value in box)
    side = rng.choice([-1.0, 1.0]) * rng.uniform(*SHIFT_RANGE)
    reach = (x2 - x1 + size_hw[1]) / 2
    left = (x1 + x2) / 2 + side * reach - size_hw[1] / 2
    top = y2 - size_hw[0] + rng.uniform(-0.15, 0.15) * size_hw[0]
    return round(left), round(top)


def _hidden(person: Person, front: BoolArray, size_hw: tuple[int, int]) -> Person | None:
    """The person with ``front`` taken off the mask; None where nothing stays visible."""
    x1, y1, x2, y2 = (int(value) for value in person.box_xyxy)
    part = front[y1 : y2 + 1, x1 : x2 + 1]
    if not part.any():
        return person
    if not person.has_mask:
        is_hidden = part.mean() > 1 - MIN_VISIBLE
        return replace(person, is_crowd=person.is_crowd or bool(is_hidden))
    try:
        mask = decode_mask(person, size_hw)
    except InputError:
        return person
    visible = mask & ~front
    if not visible.any():
        return None
    is_hidden = visible.sum() < MIN_VISIBLE * mask.sum()
    return Person(
        person.id, _box(visible), encode_mask(visible), person.is_crowd or bool(is_hidden),
        float(visible.sum()),
    )  # fmt: skip


def _box(mask: BoolArray) -> FloatArray:
    return np.array(mask_window(mask), np.float32)

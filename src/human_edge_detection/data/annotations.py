"""Annotated photos, their people and the people's masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.rle import decode_segmentation
from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.data.photos import PhotoFile, PhotoStore


@dataclass(frozen=True)
class Finding:
    """Something to know about a data set: a fault, or what is left out of training.

    Attributes:
        kind: what it is; findings of one kind share the text.
        where: the photo or annotation.
        text: what was found there.
    """

    kind: str
    where: str
    text: str


@dataclass(frozen=True)
class Person:
    """One annotated person, or a region of many.

    Attributes:
        id: annotation id.
        box_xyxy: float32 [4], source pixels, end-exclusive, clipped to the photo.
        segmentation: COCO polygons or RLE; None where only the box is known.
        is_crowd: True for a region of several people without masks of their own.
        area: mask area according to the file, square pixels.
    """

    id: int
    box_xyxy: FloatArray
    segmentation: list[list[float]] | dict[str, Any] | None
    is_crowd: bool
    area: float

    @property
    def has_mask(self) -> bool:
        """Whether more than the box is known."""
        return self.segmentation is not None

    @property
    def is_target(self) -> bool:
        """Whether this person has a mask to learn from."""
        return self.has_mask and not self.is_crowd


@dataclass(frozen=True)
class Photo:
    """One photo and everybody annotated in it.

    Attributes:
        id: image id.
        file_name: path below ``image_dir``.
        size_hw: height and width that the annotations refer to.
        people: at least one of them with a mask of its own, or a box where boxes suffice.
        image_dir: folder of the photo, or folders and archives.
        source: where the photo came from, if the file says so.
        exhaustive: False if the photo may show people without an annotation.
    """

    id: int
    file_name: str
    size_hw: tuple[int, int]
    people: tuple[Person, ...]
    image_dir: Path | PhotoStore
    source: str = ""
    exhaustive: bool = True

    @property
    def file(self) -> PhotoFile:
        """The photo's file."""
        return PhotoFile(self.image_dir, self.file_name)

    @property
    def path(self) -> Path:
        """Path of the photo's file."""
        return self.file.path


def check_size(photo: Photo, image: ImageArray) -> None:
    """Refuse a picture whose size is not the one its annotations refer to.

    Raises:
        InputError: naming the file and both sizes.
    """
    found = (image.shape[0], image.shape[1])
    if found != photo.size_hw:
        turned = ", it may have been annotated before being turned upright by its EXIF data"
        raise InputError(
            f"{photo.path} has {found[1]}x{found[0]} pixels but its annotations (image "
            f"{photo.id}) are for {photo.size_hw[1]}x{photo.size_hw[0]}"
            f"{turned if found == photo.size_hw[::-1] else ''}: use the photo they were made for"
        )


def decode_mask(person: Person, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The person's mask, bool [H, W], by COCO's own rule of which pixels a polygon covers.

    Raises:
        InputError: if the mask cannot be decoded.
        ValueError: if only the person's box is known.
    """
    shape = person.segmentation
    if shape is None:
        raise ValueError(f"annotation {person.id} has no mask, only a box")
    try:
        return decode_segmentation(shape, size_hw)
    except ValueError as error:
        raise InputError(f"annotation {person.id}: its mask cannot be decoded ({error})") from error

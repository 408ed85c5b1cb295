"""What a head reads of a photo: the maps of a network, of two sizes of the photo, or of several.

A network that takes photos of any size, as the person model does, sees each photo twice, full and
half. Of people who fill the photo a detector finds pieces at the full size; at half of it they are
found whole, and small people are still found at the full one (docs/person-model.md has figures).
One rule, :func:`of_sizes`, tells which of both sizes a person's box and mask come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_areas, clip_boxes, nms
from human_edge_detection.core.images import EncodedImage, PreparedImage, prepare_image
from human_edge_detection.core.structures import Detections, FloatArray, ImageArray, stacked
from human_edge_detection.runtime.detector import DetectorSession
from human_edge_detection.runtime.detector_layouts import NMS_IOU
from human_edge_detection.runtime.providers import in_passes, pass_size

if TYPE_CHECKING:
    from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

HALF_FROM, FULL_TO = 160, 320
"""People's sizes, √area of the box in pixels of the full picture: from the first on the half size
counts, below the second the full one, and between both the mean of their masks."""


def of_sizes(boxes_xyxy: FloatArray, full: PreparedImage) -> NDArray[np.bool_]:
    """Whether the full and the half size count for each person, bool [2, N].

    Args:
        boxes_xyxy: float32 [N, 4] pixels of the photo; what lies outside it does not count.
        full: the photo's full picture.
    """
    inside = clip_boxes(boxes_xyxy, full.size_hw)
    sides = np.sqrt(box_areas(full.transform.to_input(inside)))
    return np.stack([sides < FULL_TO, sides >= HALF_FROM])


class ImageEncoder(Protocol):
    """Turns photos into what a head reads. Its methods may be called from any thread."""

    @property
    def finds_people(self) -> bool:
        """Whether :meth:`encode` returns people too."""

    @property
    def views(self) -> int:
        """How many pictures of a photo it makes: the first, and its ``others``."""

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo uint8 [H, W, 3] RGB as the network reads it."""

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """The head's inputs, with the people of at least ``score`` where the network finds them."""

    def close(self) -> None:
        """Free the session."""


class ExtractorEncoder:
    """A feature extractor without boxes."""

    finds_people, views = False, 1

    def __init__(self, extractor: YOLOv9FeatureExtractor) -> None:
        """Wrap an open extractor, which is closed with it."""
        self._extractor = extractor

    def prepare(self, image: ImageArray) -> PreparedImage:
        """See :class:`ImageEncoder`."""
        return prepare_image(image, self._extractor.input_size_hw)

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """See :class:`ImageEncoder`."""
        provider, encoded = self._extractor.provider, []
        for some in in_passes(pictures, provider, None):
            size = pass_size(len(some), provider)
            maps = self._extractor(stacked([picture.tensor for picture in some], size))
            for number, picture in enumerate(some):
                own = [item[number : number + 1] for item in maps]
                encoded.append(EncodedImage(own, picture))
        return encoded

    def close(self) -> None:
        """See :class:`ImageEncoder`."""
        self._extractor.close()


class OnePassEncoder:
    """A network that finds boxes and features in one pass."""

    finds_people, views = True, 1

    def __init__(self, detector: DetectorSession) -> None:
        """Wrap an open detector, which is closed with it."""
        self._detector = detector

    def prepare(self, image: ImageArray) -> PreparedImage:
        """See :class:`ImageEncoder`."""
        return self._detector.prepare(image)

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """See :class:`ImageEncoder`."""
        found = zip(pictures, self._detector.run(pictures, score), strict=True)
        return [EncodedImage(maps, picture, people) for picture, (people, maps) in found]

    def close(self) -> None:
        """See :class:`ImageEncoder`."""
        self._detector.close()


class TwoSizeEncoder(OnePassEncoder):
    """The same for a network that takes any size; see the module."""

    views = 2

    def __init__(self, detector: DetectorSession, half_hw: tuple[int, int]) -> None:
        """Wrap an open detector; ``half_hw`` is the most that a photo measures at half the size."""
        super().__init__(detector)
        self._half_hw = half_hw

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo at its full size, with ``others`` the one at half of it."""
        half = self._detector.prepare(image, self._half_hw)
        return replace(self._detector.prepare(image), others=(half,))

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """The full pictures' maps and both sizes' people, with ``others`` the half one's maps."""
        full = super().encode(pictures, score)
        half = super().encode([picture.others[0] for picture in pictures], score)
        return [
            replace(one, people=_people_of_both(one, other), others=(replace(other, people=None),))
            for one, other in zip(full, half, strict=True)
        ]


def encoder_of(detector: DetectorSession) -> ImageEncoder:
    """The encoder of an open detector: of two sizes where it takes any, else of one."""
    half_hw = detector.half_size_hw
    return TwoSizeEncoder(detector, half_hw) if half_hw else OnePassEncoder(detector)


def _people_of_both(full: EncodedImage, half: EncodedImage) -> Detections:
    """The people of both sizes, best first, without those whom both found."""
    parts = []
    for number, encoded in enumerate((full, half)):
        found = encoded.people
        assert found is not None
        counts = of_sizes(found.boxes_xyxy, full.prepared)[number]
        parts.append((found.boxes_xyxy[counts], found.scores[counts]))
    boxes, scores = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    order = order[nms(boxes[order], NMS_IOU)]
    return Detections(boxes[order], scores[order])


class PictureEncoder:
    """No network: an end-to-end file reads the letterboxed photo itself."""

    finds_people, views = False, 1

    def __init__(self, input_size_hw: tuple[int, int]) -> None:
        """Letterbox photos to this height and width."""
        self._input_size_hw = input_size_hw

    def prepare(self, image: ImageArray) -> PreparedImage:
        """See :class:`ImageEncoder`."""
        return prepare_image(image, self._input_size_hw)

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """See :class:`ImageEncoder`."""
        return [EncodedImage([picture.tensor], picture) for picture in pictures]

    def close(self) -> None:
        """See :class:`ImageEncoder`."""


class JoinedEncoders:
    """The networks of an ensemble, in turn; people are those of the first that finds any."""

    def __init__(self, encoders: Sequence[ImageEncoder]) -> None:
        """Join open encoders, which are closed with it."""
        self._encoders = tuple(encoders)
        self.finds_people = any(encoder.finds_people for encoder in encoders)
        self.views = sum(encoder.views for encoder in encoders)

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo for the first network, with ``others`` all further pictures of it."""
        parts = [encoder.prepare(image) for encoder in self._encoders]
        first, *others = [view for part in parts for view in (part, *part.others)]
        return replace(first, others=tuple(replace(view, others=()) for view in others))

    def encode(self, pictures: Sequence[PreparedImage], score: float) -> list[EncodedImage]:
        """The first network's maps and the people, with ``others`` the maps of further views."""
        rows, start = [(picture, *picture.others) for picture in pictures], 0
        parts = []
        for encoder in self._encoders:
            end = start + encoder.views
            own = [replace(row[start], others=row[start + 1 : end]) for row in rows]
            parts.append(encoder.encode(own, score))
            start = end
        return [_joined(own) for own in zip(*parts, strict=True)]

    def close(self) -> None:
        """See :class:`ImageEncoder`."""
        for encoder in self._encoders:
            encoder.close()


def _joined(parts: Sequence[EncodedImage]) -> EncodedImage:
    """One photo as several networks read it; people are those of the first that finds any."""
    people = next((part.people for part in parts if part.people is not None), None)
    first, *others = [view for part in parts for view in (part, *part.others)]
    return replace(first, people=people, others=tuple(replace(view, others=()) for view in others))

"""What the head reads, from a photo: three ways to get there, one shape of the result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from human_edge_detection.core.images import PreparedImage, prepare_image
from human_edge_detection.core.spec import ExportedSpec
from human_edge_detection.core.structures import Detections, FloatArray, ImageArray
from human_edge_detection.runtime.detector import PersonDetector
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedImage:
    """One photo as the head reads it. Plain data: may be kept, and used by any thread.

    Attributes:
        features: what the head takes besides the ROIs, batch of 1.
        prepared: the photo as it entered the network.
        people: the boxes that came out of the same pass, where the network has a detector.
        others: the photo as the further networks of an ensemble read it.
    """

    features: list[FloatArray] = field(repr=False)
    prepared: PreparedImage = field(repr=False)
    people: Detections | None = None
    others: tuple[EncodedImage, ...] = field(default=(), repr=False)


class ImageEncoder(Protocol):
    """Turns a photo into what the head reads. Both methods may be called from any thread."""

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo uint8 [H, W, 3] RGB as the network reads it."""

    def encode(self, prepared: PreparedImage, score: float) -> EncodedImage:
        """The head's input; boxes below ``score`` are left out where boxes come along."""

    def close(self) -> None:
        """Free the session."""


class ExtractorEncoder:
    """A feature extractor without boxes."""

    def __init__(self, extractor: YOLOv9FeatureExtractor) -> None:
        """Use an open extractor."""
        self._extractor = extractor

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo letterboxed to the extractor's input."""
        return prepare_image(image, self._extractor.input_size_hw)

    def encode(self, prepared: PreparedImage, score: float) -> EncodedImage:
        """The feature maps."""
        return EncodedImage(self._extractor(prepared.tensor), prepared)

    def close(self) -> None:
        """Free the session."""
        self._extractor.close()


class OnePassEncoder:
    """A network that yields boxes and features together."""

    def __init__(self, detector: PersonDetector) -> None:
        """Use an open detector that returns the head's layers."""
        self._detector = detector

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo as the detector reads it."""
        return self._detector.prepare(image)

    def encode(self, prepared: PreparedImage, score: float) -> EncodedImage:
        """The feature maps and the people."""
        people, features = self._detector.run(prepared, score)
        return EncodedImage(features, prepared, people)

    def close(self) -> None:
        """Free the session."""
        self._detector.close()


class PictureEncoder:
    """For an end-to-end file: the letterboxed photo itself is what the head reads."""

    def __init__(self, input_size_hw: tuple[int, int]) -> None:
        """Letterbox to this height and width."""
        self._input_size_hw = input_size_hw

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo letterboxed."""
        return prepare_image(image, self._input_size_hw)

    def encode(self, prepared: PreparedImage, score: float) -> EncodedImage:
        """The photo's tensor."""
        return EncodedImage([prepared.tensor], prepared)

    def close(self) -> None:
        """Nothing to free."""


class JoinedEncoders:
    """The networks of an ensemble, one after the other; the first that finds people is asked."""

    def __init__(self, encoders: Sequence[ImageEncoder]) -> None:
        """Use open encoders, at least one."""
        self._encoders = tuple(encoders)

    def prepare(self, image: ImageArray) -> PreparedImage:
        """The photo as the first network reads it, with what the others read."""
        first, *others = (encoder.prepare(image) for encoder in self._encoders)
        return replace(first, others=tuple(others))

    def encode(self, prepared: PreparedImage, score: float) -> EncodedImage:
        """The first network's features, with those of the others."""
        pictures = (prepared, *prepared.others)
        parts = [e.encode(p, score) for e, p in zip(self._encoders, pictures, strict=True)]
        people = next((part.people for part in parts if part.people is not None), None)
        return replace(parts[0], people=people, others=tuple(parts[1:]))

    def close(self) -> None:
        """Free the sessions."""
        for encoder in self._encoders:
            encoder.close()


def warn_if_foreign(
    facts: ExportedSpec, sha: str, size_hw: tuple[int, int], path: Path | str
) -> None:
    """Log what differs from training without making the masks impossible."""
    if facts.extractor_sha and sha != facts.extractor_sha:
        logger.warning(
            "%s is not the very file that the head was trained on (%s, here %s): fine if its "
            "weights are the same, otherwise the masks will be poor",
            path,
            facts.extractor_sha,
            sha,
        )
    if size_hw != facts.image_size:
        trained = facts.image_size
        logger.info("%s works at %s, the head was trained at %s", path, size_hw, trained)

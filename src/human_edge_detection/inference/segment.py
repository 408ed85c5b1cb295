"""The masks of photos that were read: of one, or of several that pass through networks together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from human_edge_detection.core.errors import InputError, is_out_of_memory
from human_edge_detection.core.images import PreparedImage
from human_edge_detection.core.structures import Detections, ImageArray
from human_edge_detection.inference.boxes import ImageBoxes
from human_edge_detection.inference.predictor import MaskPredictor
from human_edge_detection.masks.instance_masks import InstanceMasks


@dataclass(frozen=True)
class Photo:
    """A photo that was read and prepared.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        prepared: the same for the network.
        boxes: its boxes if a box file has them.
        stamp: the file's size and time before it was read; None if it was gone.
    """

    image: ImageArray
    prepared: PreparedImage
    boxes: ImageBoxes | None = None
    stamp: list[int] | None = None


def reason(error: Exception) -> str:
    """Why one file was skipped, for users."""
    if is_out_of_memory(error):
        return "does not fit into memory: lower --max_rois"
    if isinstance(error, InputError):
        return str(error)
    return f"cannot be processed ({type(error).__name__}: {error})"


def segment_photos(
    predictor: MaskPredictor, photos: Sequence[Photo], score: float
) -> list[InstanceMasks]:
    """The masks of each photo's people: in its boxes if it has some, else of those found.

    On a GPU all photos pass through the networks together.

    Raises:
        InputError: a photo has no boxes, and the model finds no people by itself.
    """
    least = predictor.candidate_score(score)
    encoded = predictor.encode_many([photo.prepared for photo in photos], least)
    people: list[ImageBoxes | Detections] = [
        predictor.people(photo.image, maps, least) if photo.boxes is None else photo.boxes
        for photo, maps in zip(photos, encoded, strict=True)
    ]
    boxes, scores = [own.boxes_xyxy for own in people], [own.scores for own in people]
    ids = [None if photo.boxes is None else photo.boxes.annotation_ids for photo in photos]
    masks = predictor.decode_many(encoded, boxes, scores, ids)
    return [
        predictor.without_duplicates(found, score) if photo.boxes is None else found
        for photo, found in zip(photos, masks, strict=True)
    ]


def segment_each(
    predictor: MaskPredictor, photos: Sequence[Photo], score: float
) -> list[InstanceMasks | Exception]:
    """What :func:`segment_photos` returns; of photos that fail together each by itself."""
    try:
        return list(segment_photos(predictor, photos, score))
    except Exception as error:
        if len(photos) == 1:
            return [error]
        return [segment_each(predictor, [photo], score)[0] for photo in photos]

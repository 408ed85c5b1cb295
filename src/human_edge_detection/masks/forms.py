"""People's masks in other forms: outer rings, cutouts, and ``supervision.Detections``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import mask_window
from human_edge_detection.core.rle import encode_window
from human_edge_detection.core.structures import Bounds, FloatArray, ImageArray

if TYPE_CHECKING:
    import supervision

    from human_edge_detection.masks.instance_masks import InstanceMasks


def outlines(
    mask: NDArray[np.bool_], origin_xy: tuple[int, int], tolerance: float
) -> list[FloatArray]:
    """The outer rings of a mask's parts, along the pixels' edges, the largest part first.

    Args:
        mask: bool [h, w], a window of the image.
        origin_xy: position of the window's first pixel in the image.
        tolerance: how far, in pixels, a simplified ring may leave the exact one; 0 for exact.

    Returns:
        float32 [P, 2] xy points per part, P ≥ 3, image pixels. Holes are left out.
    """
    # Twice the resolution with an extra border: odd cells are pixels, even cells their edges.
    # A pixel sets its own cell and its edges, so that the traced border runs on the edges.
    cells = np.zeros((2 * mask.shape[0] + 1, 2 * mask.shape[1] + 1), np.uint8)
    cells[1::2, 1::2] = mask
    cells = cv2.dilate(cells, np.ones((3, 3), np.uint8))
    found, _ = cv2.findContours(cells, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rings = sorted(found, key=cv2.contourArea, reverse=True)
    if tolerance > 0:
        rings = [cv2.approxPolyDP(ring, 2 * tolerance, closed=True) for ring in rings]
    offset = np.array(origin_xy, np.float32)
    points = [np.asarray(ring[:, 0], np.float32) for ring in rings if len(ring) >= 3]
    return [np.asarray(ring / 2 + offset, np.float32) for ring in points]


def cut_out(image: ImageArray, mask: NDArray[np.bool_], bounds: Bounds) -> ImageArray:
    """The masked part of an image as RGBA uint8 [h, w, 4], transparent around the person.

    The mask, bool [h, w], fills the window ``bounds`` of the image uint8 [H, W, 3] RGB; if it is
    empty, so is the result, [0, 0, 4].
    """
    left, top, right, bottom = mask_window(mask)
    inner = (slice(top, bottom), slice(left, right))
    x1, y1, x2, y2 = bounds
    alpha = np.where(mask[inner], 255, 0).astype(np.uint8)
    return np.dstack([image[y1:y2, x1:x2][inner], alpha])


def as_detections(masks: InstanceMasks, threshold: float = 0.5) -> supervision.Detections:
    """See :meth:`InstanceMasks.to_supervision`."""
    try:
        import supervision
    except ImportError as error:
        raise InputError(
            "to_supervision() needs the package supervision: pip install supervision"
        ) from error
    compact = getattr(supervision, "CompactMask", None)
    if not hasattr(compact, "from_coco_rle"):  # supervision 0.27 and older
        compact = None
    return supervision.Detections(
        xyxy=masks.boxes_xyxy,
        mask=masks.binary(threshold) if compact is None else _compact(compact, masks, threshold),
        confidence=masks.scores,
        class_id=np.zeros(len(masks), int),
        tracker_id=np.array(masks.track_ids, int) if masks.track_ids else None,
    )


def _compact(kind: Any, masks: InstanceMasks, threshold: float) -> Any:
    """A ``supervision.CompactMask``, a run-length code for each person's window."""
    windows, codes = np.zeros((len(masks), 4), np.float32), []
    for person, (mask, bounds) in enumerate(masks.iter_binary(threshold)):
        codes.append(encode_window(mask, bounds, masks.size_hw))
        windows[person] = bounds
    windows[:, 2:] -= 1  # supervision counts the last pixel in
    return kind.from_coco_rle(codes, windows, masks.size_hw)

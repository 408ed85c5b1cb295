"""Masks as ``supervision.Detections``, which other tools of computer vision read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.rle import encode_window
from human_edge_detection.masks.instance_masks import InstanceMasks

if TYPE_CHECKING:
    import supervision


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

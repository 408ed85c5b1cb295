"""Masks of a film that do not flicker: the frames before count as evidence for this one.

The movement of the picture between two frames (dense optical flow) brings what the frame before
showed of a person to where it lies now. There it counts as far as the two pictures agree, so that
a mask has no lag: what was uncovered, or moves in a way that the flow does not follow, is decided
by the new frame alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from human_edge_detection.core import geometry
from human_edge_detection.core.structures import FloatArray, ImageArray
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.masks.probabilities import LEAST_PROBABILITY, softmax

FLOW_SIDE = 512
"""Longer side in pixels of the pictures that the movement is measured on."""

MOST_WEIGHT = 1.5
"""What the frames before weigh where the pictures agree, the new frame weighs 1."""

TOLERANCE = 10.0
"""Difference of grey values 0…255 at which the frames before weigh ``1 / e`` of that."""


@dataclass(frozen=True)
class _Frame:
    """What the next frame needs of one: its small grey picture, and its people by number."""

    grey: ImageArray
    people: dict[int, tuple[FloatArray, FloatArray]]


class CarriedEvidence:
    """Mixes what the frames before showed of the same people into each frame of one film."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._before: _Frame | None = None

    def mix(self, image: ImageArray, masks: InstanceMasks) -> InstanceMasks:
        """The masks of the next frame, with the frames before as evidence.

        Args:
            image: the frame, uint8 [H, W, 3] RGB; one of another size starts anew.
            masks: its people, with ``track_ids``.
        """
        scale = min(1.0, FLOW_SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        odds = np.log(np.maximum(masks.probs, LEAST_PROBABILITY, dtype=np.float32))
        before = self._before
        if before is not None and before.grey.shape == grey.shape:
            movement, trust = self._movement(grey, before.grey)
            size_wh = np.divide(grey.shape[::-1], image.shape[1::-1], dtype=np.float32)
            for person, number in enumerate(masks.track_ids):
                if number in before.people:
                    old_odds, old_roi = before.people[number]
                    points = geometry.grid_points(masks.rois_xyxy[person], odds.shape[-2:])
                    weight = MOST_WEIGHT * geometry.sample(trust, points * size_wh)
                    points += geometry.sample(movement, points * size_wh) / size_wh
                    bins = (points - old_roi[:2]) / np.maximum(old_roi[2:] - old_roi[:2], 1e-6)
                    weight *= ((bins > 0) & (bins < 1)).all(axis=2)
                    planes = np.ascontiguousarray(old_odds.transpose(1, 2, 0))
                    old = geometry.sample(planes, bins * old_odds.shape[-1]).transpose(2, 0, 1)
                    odds[person] = (odds[person] + weight * old) / (1 + weight)
        people = zip(masks.track_ids, zip(odds, masks.rois_xyxy, strict=True), strict=True)
        self._before = _Frame(grey, dict(people))
        return replace(masks, probs=softmax(odds))

    def _movement(self, grey: ImageArray, before: ImageArray) -> tuple[FloatArray, FloatArray]:
        """Where each pixel was before, as a difference [h, w, 2], and whether it looks it, 0…1."""
        (height, width), start = grey.shape, np.zeros((*grey.shape, 2), np.float32)
        movement = np.asarray(self._flow.calc(grey, before, start), np.float32)
        whole = np.array([0, 0, width, height], np.float32)
        points = geometry.grid_points(whole, (height, width))
        seen = geometry.sample(before.astype(np.float32), points + movement)
        change = cv2.blur(np.abs(seen - grey), (5, 5))
        return movement, np.exp(-np.square(change / TOLERANCE))

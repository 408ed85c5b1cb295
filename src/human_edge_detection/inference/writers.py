"""Writes one photo's masks in the formats that were asked for, each file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from human_edge_detection.core.files import write_atomically
from human_edge_detection.core.images import save_image
from human_edge_detection.core.structures import ImageArray, LabelMap
from human_edge_detection.masks.instance_masks import InstanceMasks


class FusedOnce(InstanceMasks):
    """The same masks, but each pixel's owner is worked out once for all that is written."""

    @classmethod
    def of(cls, masks: InstanceMasks) -> FusedOnce:
        """A short-lived copy that shares the arrays; it holds one label map."""
        return cls(**vars(masks))

    def label_map(self, threshold: float = 0.5) -> LabelMap:
        """See :meth:`InstanceMasks.label_map`."""
        known: dict[float, LabelMap] = self.__dict__.setdefault("_labels", {})
        if threshold not in known:
            known[threshold] = super().label_map(threshold)
        return known[threshold]


@dataclass(frozen=True)
class ResultFiles:
    """The folders of results, one per kind: ``overlay/NAME.jpg`` and the like.

    Attributes:
        folder: the output.
        kinds: which of ``SAVE_KINDS`` to write; ``coco`` is left to the caller.
        threshold: probability from which a pixel belongs to a person.
        draw_boxes: draw the person boxes in the overlay too.
    """

    folder: Path
    kinds: Sequence[str]
    threshold: float = 0.5
    draw_boxes: bool = False

    def overlay(self, image: ImageArray, masks: InstanceMasks) -> ImageArray:
        """The picture with every person tinted, outlined and numbered, uint8 [H, W, 3]."""
        return masks.overlay(image, self.threshold, boxes=self.draw_boxes)

    def write(self, name: str, image: ImageArray, masks: InstanceMasks) -> None:
        """Write all pictures and polygons of one photo.

        Args:
            name: path of the results below each kind's folder, without ending.
            image: uint8 [H, W, 3] RGB.
            masks: the people in it.

        Raises:
            InputError: a file cannot be written; none is left half-written.
        """
        if "overlay" in self.kinds:
            save_image(self._path("overlay", name, ".jpg"), self.overlay(image, masks))
        self.write_data(name, image, masks)

    def write_data(self, name: str, image: ImageArray, masks: InstanceMasks) -> None:
        """The same without the overlay, which a video has as frames of one file."""
        if "labels" in self.kinds:
            labels = masks.label_map(self.threshold).astype(np.uint16)
            save_image(self._path("labels", name, ".png"), labels)
        if "cutouts" in self.kinds:
            for number, cutout in enumerate(masks.cutouts(image, self.threshold), start=1):
                if cutout.size:
                    save_image(self._path("cutouts", f"{name}/{number:03}", ".png"), cutout)
        if "polygons" in self.kinds:
            text = json.dumps(self._polygons(name, masks))
            write_atomically(self._path("polygons", name, ".json"), text.encode())

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        return self.folder / kind / f"{name}{suffix}"

    def _polygons(self, name: str, masks: InstanceMasks) -> dict[str, Any]:
        people = []
        for person, rings in enumerate(masks.polygons(self.threshold)):
            fields: dict[str, Any] = {
                "box_xyxy": [round(float(value), 3) for value in masks.boxes_xyxy[person]],
                "score": round(float(masks.scores[person]), 5),
                "polygons": [np.round(ring, 2).tolist() for ring in rings],
            }
            if masks.ids:
                fields["annotation_id"] = masks.ids[person]
            people.append(fields)
        return {"name": name, "size_hw": list(masks.size_hw), "people": people}

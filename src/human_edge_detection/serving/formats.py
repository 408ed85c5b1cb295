"""The formats of ``POST /v1/segment``: what a photo's masks look like in an answer."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from human_edge_detection.core.images import encode_image
from human_edge_detection.core.structures import ImageArray
from human_edge_detection.inference.writers import label_image, polygon_results
from human_edge_detection.masks.instance_masks import InstanceMasks
from human_edge_detection.serving.gate import Problem

FormatName = Literal["coco", "polygons", "labels", "overlay", "cutouts"]
JSON, PNG = "application/json", "image/png"


@dataclass(frozen=True)
class Cut:
    """One photo with its masks, and what is asked of them.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        masks: the people in it.
        threshold: probability from which a pixel belongs to a person.
        person: number of the one person to cut out, from 1; None for all.
        facts: what JSON answers say besides people, filled in before they are encoded.
    """

    image: ImageArray
    masks: InstanceMasks
    threshold: float
    person: int | None
    facts: dict[str, Any]


Encoded = tuple[str, Callable[[], bytes]]
"""Media type, and the function that makes the answer's bytes of what was computed."""


def _coco(cut: Cut) -> Encoded:
    people = cut.masks.coco_people(cut.threshold)
    return JSON, lambda: msgspec.json.encode({**cut.facts, "people": people})


def _polygons(cut: Cut) -> Encoded:
    people = polygon_results(cut.masks, cut.threshold)
    return JSON, lambda: msgspec.json.encode({**cut.facts, "people": people})


def _labels(cut: Cut) -> Encoded:
    labels = label_image(cut.masks, cut.threshold)
    return PNG, lambda: encode_image(labels, ".png")


def _overlay(cut: Cut) -> Encoded:
    shown = cut.masks.overlay(cut.image, cut.threshold)
    return "image/jpeg", lambda: encode_image(shown, ".jpg")


def _cutouts(cut: Cut) -> Encoded:
    cutouts = cut.masks.cutouts(cut.image, cut.threshold)
    if cut.person is not None:
        if not cut.person <= len(cutouts) or not cutouts[cut.person - 1].size:
            detail = f"the photo has {len(cutouts)} people, and no pixel of person {cut.person}"
            raise Problem(422, "person", f"{detail}: choose another", "person", cut.person)
        return PNG, lambda: encode_image(cutouts[cut.person - 1], ".png")

    def zipped() -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for number, cutout in enumerate(cutouts, start=1):
                if cutout.size:
                    archive.writestr(f"{number:03}.png", encode_image(cutout, ".png"))
        return buffer.getvalue()

    return "application/zip", zipped


FORMATS: dict[str, Callable[[Cut], Encoded]] = {
    "coco": _coco,
    "polygons": _polygons,
    "labels": _labels,
    "overlay": _overlay,
    "cutouts": _cutouts,
}
"""Value of ``format`` → what computes it."""

assert tuple(FORMATS) == get_args(FormatName)

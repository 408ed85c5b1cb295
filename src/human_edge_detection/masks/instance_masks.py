"""What inference gives back: one mask per person, kept small until asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import geometry
from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import (
    Bounds,
    FloatArray,
    ImageArray,
    LabelMap,
    MaskClass,
    as_boxes,
)
from human_edge_detection.masks import fusion as masks
from human_edge_detection.masks import overlay as visualize
from human_edge_detection.masks.mask_formats import cut_out, encode_rle, outlines
from human_edge_detection.masks.probabilities import paste_masks

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True)
class InstanceMasks:
    """The people of one image: class probabilities at ROI resolution, and where they belong.

    Attributes:
        probs: float16 or float32 [N, 3, M, M], classes as in ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, the region that each mask covers.
        boxes_xyxy: float32 [N, 4] source pixels, the people's boxes as given.
        size_hw: height and width of the image.
        scores: float32 [N] in 0…1; ones if empty.
        fuse: one of ``masks.RULES``: who gets the pixels that several people claim.
        ids: the people's own ids, for instance those of the annotations; () if they have none.
    """

    probs: NDArray[np.floating]
    rois_xyxy: FloatArray
    boxes_xyxy: FloatArray
    size_hw: tuple[int, int]
    scores: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    fuse: str = "arbitrate"
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the shapes once."""
        probs, count = self.probs, len(self.probs)
        side = probs.shape[-1]
        if probs.shape != (count, len(MaskClass), side, side):
            raise ValueError(f"probs must have shape [N, 3, M, M], but got {list(probs.shape)}")
        scores = np.asarray(self.scores, np.float32)
        scores = scores if scores.size else np.ones(count, np.float32)
        fields = {
            "rois_xyxy": as_boxes(self.rois_xyxy, "rois_xyxy"),
            "boxes_xyxy": as_boxes(self.boxes_xyxy),
            "scores": scores,
        }
        for name, value in fields.items():
            if len(value) != count:
                raise ValueError(f"{name} must have {count} rows like probs, but got {len(value)}")
            object.__setattr__(self, name, value)
        if self.ids and len(self.ids) != count:
            raise ValueError(f"ids must be empty or {count} long, but got {len(self.ids)}")
        if self.fuse not in masks.RULES:
            raise ValueError(f"fuse must be one of {', '.join(masks.RULES)}, but got {self.fuse!r}")

    def __len__(self) -> int:
        """Number of people."""
        return len(self.probs)

    def label_map(self, threshold: float = 0.5) -> LabelMap:
        """The owner of every pixel, int32 [H, W]: 0 nobody, ``i + 1`` person ``i``."""
        return masks.fuse(
            self.probs, self.rois_xyxy, self.scores, self.size_hw, threshold, self.fuse
        )

    def iter_binary(self, threshold: float = 0.5) -> Iterator[tuple[NDArray[np.bool_], Bounds]]:
        """Each person's mask in turn, cut to the pixels of its ROI.

        Yields:
            bool [h, w], and the window ``x1, y1, x2, y2`` of the image that it fills (empty for a
            person outside). Besides, one label map is held.
        """
        windows = geometry.all_roi_bounds(self.rois_xyxy, self.size_hw)
        if self.fuse == "independent":
            targets = self.probs[:, MaskClass.TARGET]
            own = paste_masks(targets, self.rois_xyxy, windows, threshold)
            for mask, (x1, y1, x2, y2) in zip(own, windows.tolist(), strict=True):
                yield mask, (x1, y1, x2, y2)
            return
        labels = self.label_map(threshold)
        for person, (x1, y1, x2, y2) in enumerate(windows.tolist()):
            yield labels[y1:y2, x1:x2] == person + 1, (x1, y1, x2, y2)

    def binary(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Every person's mask, bool [N, H, W]: N whole images; ``iter_binary`` needs but one."""
        full = np.zeros((len(self), *self.size_hw), np.bool_)
        for whole, (mask, (x1, y1, x2, y2)) in zip(full, self.iter_binary(threshold), strict=True):
            whole[y1:y2, x1:x2] = mask
        return full

    def to_coco(
        self,
        image_id: int = 0,
        file_name: str | None = None,
        category_id: int = 1,
        threshold: float = 0.5,
    ) -> list[dict[str, object]]:
        """COCO results, one per person, with compressed RLE; ``annotation_id`` where ids are known.

        ``bbox`` is the person's box as given, xywh.
        """
        results: list[dict[str, object]] = []
        for person, (mask, bounds) in enumerate(self.iter_binary(threshold)):
            x1, y1, x2, y2 = (round(float(value), 3) for value in self.boxes_xyxy[person])
            result: dict[str, object] = {"image_id": image_id}
            if file_name is not None:
                result["file_name"] = file_name
            if self.ids:
                result["annotation_id"] = int(self.ids[person])
            result |= {
                "category_id": category_id,
                "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                "score": round(float(self.scores[person]), 5),
                "segmentation": encode_rle(mask, bounds, self.size_hw),
            }
            results.append(result)
        return results

    def to_supervision(self, threshold: float = 0.5) -> supervision.Detections:
        """``supervision.Detections`` with boxes, masks, scores and class 0."""
        try:
            from supervision import Detections
        except ImportError as error:
            raise InputError(
                "to_supervision() needs the package supervision: pip install supervision"
            ) from error
        return Detections(
            xyxy=self.boxes_xyxy,
            mask=self.binary(threshold),
            confidence=self.scores,
            class_id=np.zeros(len(self), int),
        )

    def polygons(self, threshold: float = 0.5, tolerance: float = 0.5) -> list[list[FloatArray]]:
        """Each person's outer rings, float32 [P, 2] xy source pixels, the largest first.

        ``tolerance`` is how far, in pixels, a ring may leave the mask's edge; holes are not told.
        """
        return [
            outlines(mask, bounds[:2], tolerance) for mask, bounds in self.iter_binary(threshold)
        ]

    def cutouts(self, image: ImageArray, threshold: float = 0.5) -> list[ImageArray]:
        """Each person alone, RGBA uint8 [h, w, 4] as large as its mask; [0, 0, 4] if it has none.

        ``image`` is the uint8 [H, W, 3] RGB image that the masks belong to.
        """
        self._check_image(image)
        return [cut_out(image, mask, bounds) for mask, bounds in self.iter_binary(threshold)]

    def overlay(
        self,
        image: ImageArray,
        threshold: float = 0.5,
        alpha: float = 0.4,
        numbers: bool = True,
        boxes: bool = False,
        tags: Sequence[str] = (),
    ) -> ImageArray:
        """The image with every person tinted, outlined and numbered, uint8 [H, W, 3].

        Args:
            image: uint8 [H, W, 3] RGB, the one that the masks belong to; left as it is.
            threshold: least probability of ownership.
            alpha: opacity of the tint, 0…1.
            numbers: write each person's number, ``i + 1`` as in the label map.
            boxes: draw the people's boxes too.
            tags: texts to write instead of the numbers, one per person.
        """
        self._check_image(image)
        texts = list(tags) or [str(person + 1) for person in range(len(self))]
        return visualize.draw_people(
            image,
            self.iter_binary(threshold),
            alpha=alpha,
            texts=texts if numbers or tags else (),
            boxes_xyxy=self.boxes_xyxy if boxes else None,
        )

    def _check_image(self, image: ImageArray) -> None:
        if image.shape != (*self.size_hw, 3) or image.dtype != np.uint8:
            wanted = [*self.size_hw, 3]
            raise ValueError(f"image must be uint8 {wanted}, but got {image.dtype} {image.shape}")

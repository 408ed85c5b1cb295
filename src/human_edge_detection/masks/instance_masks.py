"""The result of inference: one mask per person, at ROI resolution until pixels are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core import geometry
from human_edge_detection.core.errors import check_fraction, check_number
from human_edge_detection.core.structures import (
    Bounds,
    FloatArray,
    ImageArray,
    LabelMap,
    MaskClass,
    as_boxes,
)
from human_edge_detection.masks.paste import paste_masks

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True)
class InstanceMasks:
    """The people of one image: class probabilities at ROI resolution, and where they lie.

    The label map is computed on first use and kept for the last threshold, four bytes a pixel. In
    all methods ``threshold`` is the least probability, 0…1, of a pixel that has an owner.

    Attributes:
        probs: float16 or float32 [N, 3, M, M], classes as in ``MaskClass``.
        rois_xyxy: float32 [N, 4] source pixels, the region that each mask covers.
        boxes_xyxy: float32 [N, 4] source pixels, the people's boxes as given.
        size_hw: height and width of the image.
        scores: float32 [N] in 0…1; ones if empty.
        fuse: the rule for pixels that several ROIs cover, one of ``fusion.RULES``.
        ids: ids of the people, for instance of their annotations; () if they have none.
        track_ids: a number over 0 per person, the same through all frames of a film; () for a
            photo. Label maps, colours and texts show it instead of the person's place ``i + 1``.

    Raises:
        ValueError: shapes or counts do not fit each other, ``fuse`` is no rule, or an image that a
            method is given has another size or type.
        InputError: a method's ``threshold`` is no finite number, or it needs a missing package.
    """

    probs: NDArray[np.floating]
    rois_xyxy: FloatArray
    boxes_xyxy: FloatArray
    size_hw: tuple[int, int]
    scores: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    fuse: str = "arbitrate"
    ids: tuple[int, ...] = ()
    track_ids: tuple[int, ...] = ()
    _fused: dict[float, LabelMap] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

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
        tracks = self.track_ids
        if tracks and not (len(tracks) == count == len(set(tracks)) and min(tracks) > 0):
            raise ValueError(
                f"track_ids must be empty or {count} different numbers over 0, but got {tracks}"
            )
        from human_edge_detection.masks.fusion import RULES  # loaded with the first result

        if self.fuse not in RULES:
            raise ValueError(f"fuse must be one of {', '.join(RULES)}, but got {self.fuse!r}")

    def __len__(self) -> int:
        """Number of people."""
        return len(self.probs)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Each person's number in label maps and pictures: the track's, else ``i + 1``."""
        return self.track_ids or tuple(range(1, len(self) + 1))

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> InstanceMasks:
        """Some of the people.

        Args:
            rows: int64 [K], the people's rows, or bool [N].
        """
        return replace(
            self,
            probs=self.probs[rows],
            rois_xyxy=self.rois_xyxy[rows],
            boxes_xyxy=self.boxes_xyxy[rows],
            scores=self.scores[rows],
            ids=tuple(np.array(self.ids)[rows].tolist()) if self.ids else (),
            track_ids=tuple(np.array(self.track_ids)[rows].tolist()) if self.track_ids else (),
        )

    def label_map(self, threshold: float = 0.5) -> LabelMap:
        """The owner of every pixel, int32 [H, W]: 0 background, else one of ``numbers``.

        A copy, so it may be changed.
        """
        owners = self._owners(threshold)
        if not self.track_ids:
            return owners.copy()
        return np.array([0, *self.track_ids], np.int32)[owners]

    def _owners(self, threshold: float) -> LabelMap:
        """The kept label map, computed anew for another threshold; not to be changed."""
        check_number("threshold", threshold)
        labels = self._fused.get(threshold)
        if labels is None:
            from human_edge_detection.masks.fusion import fuse

            labels = fuse(
                self.probs, self.rois_xyxy, self.scores, self.size_hw, threshold, self.fuse
            )
            self._fused.clear()
            self._fused[threshold] = labels
        return labels

    def iter_binary(self, threshold: float = 0.5) -> Iterator[tuple[NDArray[np.bool_], Bounds]]:
        """Each person's mask in turn, cut to the pixels of its ROI.

        Yields:
            mask bool [h, w], and the window ``x1, y1, x2, y2`` of the image that it fills (empty
            for a person outside).
        """
        check_number("threshold", threshold)
        windows = geometry.all_roi_bounds(self.rois_xyxy, self.size_hw)
        if self.fuse == "independent":
            targets = self.probs[:, MaskClass.TARGET]
            own = paste_masks(targets, self.rois_xyxy, windows, threshold)
            for mask, (x1, y1, x2, y2) in zip(own, windows.tolist(), strict=True):
                yield mask, (x1, y1, x2, y2)
            return
        labels = self._owners(threshold)
        for person, (x1, y1, x2, y2) in enumerate(windows.tolist()):
            yield labels[y1:y2, x1:x2] == person + 1, (x1, y1, x2, y2)

    def binary(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Every person's mask, bool [N, H, W]; ``iter_binary`` needs less memory."""
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
        """COCO results, one per person, with compressed RLE.

        ``image_id``, ``file_name`` and ``category_id`` are written into each result. ``bbox`` is
        the person's box as given, xywh; ``annotation_id`` and ``track_id`` are set where known.
        """
        from human_edge_detection.core.rle import encode_window  # loaded with the first result

        results: list[dict[str, object]] = []
        for person, (mask, bounds) in enumerate(self.iter_binary(threshold)):
            x1, y1, x2, y2 = (round(float(value), 3) for value in self.boxes_xyxy[person])
            result: dict[str, object] = {"image_id": image_id}
            if file_name is not None:
                result["file_name"] = file_name
            if self.ids:
                result["annotation_id"] = int(self.ids[person])
            if self.track_ids:
                result["track_id"] = int(self.track_ids[person])
            result |= {
                "category_id": category_id,
                "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                "score": round(float(self.scores[person]), 5),
                "segmentation": encode_window(mask, bounds, self.size_hw),
            }
            results.append(result)
        return results

    def coco_people(self, threshold: float = 0.5) -> list[dict[str, Any]]:
        """The people of one photo: see :meth:`to_coco`; without an image id, with areas."""
        from human_edge_detection.core.rle import rle_area

        people: list[dict[str, Any]] = self.to_coco(threshold=threshold)
        for person in people:
            del person["image_id"]
            person["area"] = rle_area(person["segmentation"])
        return people

    def to_supervision(self, threshold: float = 0.5) -> supervision.Detections:
        """``supervision.Detections`` with boxes, masks, scores, class 0, and tracks as tracker ids.

        The masks are a ``CompactMask`` where supervision has one, else bool [N, H, W].

        Raises:
            InputError: the package is missing.
        """
        from human_edge_detection.masks.forms import as_detections  # loaded on first use, as below

        return as_detections(self, threshold)

    def polygons(self, threshold: float = 0.5, tolerance: float = 0.5) -> list[list[FloatArray]]:
        """Each person's outer rings, float32 [P, 2] xy source pixels, the largest first.

        ``tolerance`` is how far, in pixels, a ring may leave the mask's edge; holes are left out.
        """
        from human_edge_detection.masks.forms import outlines

        return [
            outlines(mask, bounds[:2], tolerance) for mask, bounds in self.iter_binary(threshold)
        ]

    def cutouts(self, image: ImageArray, threshold: float = 0.5) -> list[ImageArray]:
        """Each person cut out, RGBA uint8 [h, w, 4] as large as its mask; [0, 0, 4] if it is empty.

        ``image`` is the uint8 [H, W, 3] RGB image that the masks belong to.
        """
        from human_edge_detection.masks.forms import cut_out

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
            image: uint8 [H, W, 3] RGB, the one that the masks belong to; not changed.
            threshold: least probability of ownership.
            alpha: opacity of the tint, 0…1.
            numbers: write each person's number, as in the label map.
            boxes: draw the people's boxes too.
            tags: texts to write instead of the numbers, one per person.
        """
        from human_edge_detection.masks.drawing import draw_people  # drawing loads on first use

        self._check_image(image)
        check_fraction("alpha", alpha)
        if tags and len(tags) != len(self):
            raise ValueError(f"tags must be empty or {len(self)} long, but got {len(tags)}")
        texts = list(tags) or [str(number) for number in self.numbers]
        return draw_people(
            image,
            self.iter_binary(threshold),
            alpha=alpha,
            texts=texts if numbers or tags else (),
            boxes_xyxy=self.boxes_xyxy if boxes else None,
            numbers=self.track_ids,
        )

    def _check_image(self, image: ImageArray) -> None:
        if image.shape != (*self.size_hw, 3) or image.dtype != np.uint8:
            wanted = [*self.size_hw, 3]
            raise ValueError(f"image must be uint8 {wanted}, but got {image.dtype} {image.shape}")

"""The pixel convention, written once: transforms, letterbox, crop; ``masks.paste`` undoes crop.

Coordinates are continuous: pixel ``i`` covers ``[i, i + 1)``, its centre is ``i + 0.5``. Boxes are
end-exclusive xyxy. Only these two modules write a ``+ 0.5`` or a ``- 1``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.structures import FloatArray, ImageArray, as_boxes

PAD_VALUE = 114
"""Grey of the letterbox's border, the one that YOLO networks are trained with."""


@dataclass(frozen=True)
class AxisTransform:
    """The map ``x_in = scale * x + offset`` per axis; a negative scale is a flip.

    Attributes:
        scale_xy: scale of x and y, never 0.
        offset_xy: offset of x and y, input pixels.
    """

    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)

    def to_input(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes float32 [N, 4] in input pixels from boxes in source pixels."""
        scale, offset = np.tile(self.scale_xy, 2), np.tile(self.offset_xy, 2)
        return _ordered(as_boxes(boxes_xyxy).astype(np.float64) * scale + offset)

    def to_source(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes float32 [N, 4] in source pixels from boxes in input pixels."""
        scale, offset = np.tile(self.scale_xy, 2), np.tile(self.offset_xy, 2)
        return _ordered((as_boxes(boxes_xyxy).astype(np.float64) - offset) / scale)

    def then(self, other: AxisTransform) -> AxisTransform:
        """The transform that applies this one first and ``other`` after it."""
        (ax, ay), (bx, by) = self.scale_xy, other.scale_xy
        (ox, oy), (px, py) = self.offset_xy, other.offset_xy
        return AxisTransform((ax * bx, ay * by), (ox * bx + px, oy * by + py))

    @staticmethod
    def flip_x(width: int) -> AxisTransform:
        """The horizontal flip of an image of ``width`` pixels."""
        return AxisTransform((-1.0, 1.0), (float(width), 0.0))


def _ordered(boxes: NDArray[np.float64]) -> FloatArray:
    low = np.minimum(boxes[:, :2], boxes[:, 2:])
    high = np.maximum(boxes[:, :2], boxes[:, 2:])
    return np.concatenate([low, high], axis=1).astype(np.float32)


def letterbox_transform(
    source_hw: tuple[int, int],
    size_hw: tuple[int, int],
    zoom: float = 1.0,
    anchor_xy: tuple[float, float] = (0.5, 0.5),
) -> AxisTransform:
    """The source-to-input transform of :func:`letterbox`, for an image of ``source_hw``."""
    height, width = source_hw
    out_h, out_w = size_hw
    ratio = min(out_h / height, out_w / width) * zoom
    new_w, new_h = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = round((out_w - new_w) * anchor_xy[0]), round((out_h - new_h) * anchor_xy[1])
    return AxisTransform((new_w / width, new_h / height), (float(left), float(top)))


def frame_hw(
    source_hw: tuple[int, int], most_hw: tuple[int, int], multiple: int
) -> tuple[int, int]:
    """The smallest frame of whole multiples that holds an image fitted into ``most_hw``.

    Letterboxed to it instead, the image has the same scale and less border.

    Args:
        source_hw: height and width of the image.
        most_hw: height and width of the largest frame, multiples too.
        multiple: what both sides must be multiples of.
    """
    ratio = min(most / side for most, side in zip(most_hw, source_hw, strict=True))
    height, width = (max(1, math.ceil(side * ratio / multiple - 1e-6)) for side in source_hw)
    return multiple * height, multiple * width


def letterbox(
    image: ImageArray,
    size_hw: tuple[int, int],
    zoom: float = 1.0,
    anchor_xy: tuple[float, float] = (0.5, 0.5),
) -> tuple[ImageArray, AxisTransform]:
    """The image fitted into ``size_hw`` with its aspect ratio kept, and the transform.

    Args:
        image: uint8 [h, w, 3].
        size_hw: height and width of the result.
        zoom: factor on the fitting scale; above 1 the surplus is cut off.
        anchor_xy: fraction of the free or surplus space that lies left and above; 0.5 centres.

    Returns:
        uint8 [H, W, 3] with a grey border, and the source-to-input transform.
    """
    height, width = image.shape[:2]
    out_h, out_w = size_hw
    transform = letterbox_transform((height, width), size_hw, zoom, anchor_xy)
    new_w, new_h = round(width * transform.scale_xy[0]), round(height * transform.scale_xy[1])
    left, top = (int(value) for value in transform.offset_xy)
    resized = image
    if (new_w, new_h) != (width, height):
        how = cv2.INTER_AREA if new_w * new_h < width * height else cv2.INTER_LINEAR
        resized = np.asarray(cv2.resize(image, (new_w, new_h), interpolation=how), np.uint8)
    canvas = np.full((out_h, out_w, 3), PAD_VALUE, np.uint8)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + new_w, out_w), min(top + new_h, out_h)
    canvas[y1:y2, x1:x2] = resized[y1 - top : y2 - top, x1 - left : x2 - left]
    return canvas, transform


def pixel_bounds(box_xyxy: FloatArray, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels ``x1, y1, x2, y2`` (end-exclusive) that a box touches in the image."""
    height, width = size_hw
    x1, y1 = (max(0, int(np.floor(value))) for value in box_xyxy[:2])
    x2, y2 = int(np.ceil(box_xyxy[2])), int(np.ceil(box_xyxy[3]))
    x2, y2 = min(width, x2), min(height, y2)
    return min(x1, width), min(y1, height), max(x2, min(x1, width)), max(y2, min(y1, height))


def mask_window(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The window ``x1, y1, x2, y2`` around a mask's pixels; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def cover_weights(edges_out: NDArray[np.float64], count_in: int) -> FloatArray:
    """Exact area-average weights [len(edges_out) - 1, count_in] from unit cells to output cells.

    Args:
        edges_out: rising edges of the output cells, in units of the input cells.
        count_in: number of input cells; cell ``i`` covers ``[i, i + 1)``.

    Returns:
        float32 rows that sum to 1 where the output cell lies inside the input.
    """
    low, high = edges_out[:-1, None], edges_out[1:, None]
    cells = np.arange(count_in)[None]
    shared = np.minimum(high, cells + 1)
    shared -= np.maximum(low, cells)
    np.maximum(shared, 0, out=shared)
    shared /= np.maximum(high - low, 1e-9)
    return shared.astype(np.float32)


def crop_mask(mask: NDArray[np.generic], roi_xyxy: FloatArray, size: int) -> FloatArray:
    """The fraction of each bin of a ROI that the mask covers, float32 [size, size].

    Args:
        mask: bool, uint8 or float [H, W] with values 0…1, source frame.
        roi_xyxy: float [4] in the same frame; parts outside the image count as uncovered.
        size: bins along each side.
    """
    x1, y1, x2, y2 = pixel_bounds(roi_xyxy, (mask.shape[0], mask.shape[1]))
    if x2 <= x1 or y2 <= y1:
        return np.zeros((size, size), np.float32)
    window = np.ascontiguousarray(mask[y1:y2, x1:x2], np.float32)
    left, top, right, bottom = (float(value) for value in roi_xyxy)
    columns = cover_weights(np.linspace(left - x1, right - x1, size + 1), x2 - x1)
    rows = cover_weights(np.linspace(top - y1, bottom - y1, size + 1), y2 - y1)
    return np.asarray(rows @ window @ columns.T, np.float32)


def grid_points(region_xyxy: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """The centres ``x, y`` of a region's cells, float32 [h, w, 2], in the region's frame.

    Args:
        region_xyxy: float [4].
        size_hw: its cells along y and x.
    """
    low, high = np.asarray(region_xyxy[:2], np.float64), np.asarray(region_xyxy[2:], np.float64)
    ys, xs = (
        low[axis] + (np.arange(count) + 0.5) * (high[axis] - low[axis]) / count
        for axis, count in ((1, size_hw[0]), (0, size_hw[1]))
    )
    return np.stack(np.meshgrid(xs, ys), axis=-1).astype(np.float32)


def sample(values: FloatArray, points_xy: FloatArray) -> FloatArray:
    """Values at any points of their own frame, interpolated linearly; the nearest outside.

    Args:
        values: float32 [h, w] or [h, w, C] of the cells, C up to 4.
        points_xy: float32 [H, W, 2], where cell ``i`` covers ``[i, i + 1)``.

    Returns:
        float32 [H, W] or [H, W, C].
    """
    places = np.asarray(points_xy - np.float32(0.5), np.float32)
    xs, ys = (np.ascontiguousarray(places[..., axis]) for axis in (0, 1))
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(values, xs, ys, cv2.INTER_LINEAR, borderMode=border), np.float32)


def roi_bounds(roi_xyxy: FloatArray, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels that a ROI's mask is pasted to; none for an empty or reversed ROI."""
    x1, y1, x2, y2 = all_roi_bounds(np.asarray(roi_xyxy)[None], size_hw)[0].tolist()
    return x1, y1, x2, y2


def all_roi_bounds(rois_xyxy: FloatArray, size_hw: tuple[int, int]) -> NDArray[np.int64]:
    """:func:`roi_bounds` of many ROIs float32 [N, 4], int64 [N, 4]."""
    limit = np.array(size_hw[::-1])
    low = np.minimum(np.maximum(np.floor(rois_xyxy[:, :2]), 0), limit).astype(np.int64)
    high = np.minimum(np.ceil(rois_xyxy[:, 2:]), limit).astype(np.int64)
    high = np.maximum(high, low)
    empty = (rois_xyxy[:, 2:] <= rois_xyxy[:, :2]).any(axis=1)
    high[empty] = low[empty]
    return np.concatenate([low, high], axis=1)

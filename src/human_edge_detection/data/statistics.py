"""Statistics of a data set: counts, sizes and overlaps of people, pixels and weights of classes."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from human_edge_detection.core.boxes import box_iou, padded_rois
from human_edge_detection.core.errors import InputError, shown
from human_edge_detection.core.files import check_regular, write_atomically
from human_edge_detection.core.options import DEFAULT_DATA_STATS, option, require_least
from human_edge_detection.core.structures import FloatArray, MaskClass
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.photo_table import joined
from human_edge_detection.data.targets import PhotoMasks, roi_targets

_LOGGER = logging.getLogger(__name__)
SEPARATION = 1.2
"""Extra factor of the non-target class, which separates touching people."""

_CLASS_NAMES = [kind.name.lower() for kind in MaskClass]
_OVERLAPS = (0.1, 0.3, 0.5)
_MAX_PAIRS = 1 << 22
_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class StatsOptions:
    """What ``stats`` takes."""

    ann: tuple[Path, ...] = option(
        (), "COCO annotation files to measure together", metavar="ANN", positional=True
    )
    output: Path = option(DEFAULT_DATA_STATS, "the statistics file to write")
    mask_size: int = option(56, "bins along a mask's side", least=1)
    roi_padding: float = option(
        0.1, "margin around a box on each side, as a fraction of its side", least=0
    )

    def __post_init__(self) -> None:
        require_least(self)


def measure(photos: Sequence[Photo], size: int = 56, padding: float = 0.1) -> dict[str, Any]:
    """The statistics of a data set, ready for JSON.

    ``pixel_counts``, the ratios and the weights are over the bins of every person's ROI, as in
    training; ``box_sizes`` is in source pixels; ``overlaps`` counts the people whose box overlaps
    another person's by more than the given IoU.

    Args:
        photos: annotated photos; no image is opened.
        size: bins along a mask's side.
        padding: margin around a box on each side, as a fraction of its side.
    """
    counts = np.zeros(len(MaskClass), np.int64)
    sides: list[FloatArray] = []
    closeness: list[FloatArray] = []
    for done, photo in enumerate(photos, start=1):
        boxes, part = _measure_photo(photo, size, padding)
        counts += part
        sides.append(boxes[:, 2:] - boxes[:, :2])
        closeness.append(_closest(boxes))
        if done % 5000 == 0:
            _LOGGER.info("measured %d of %d photos", done, len(photos))
    ratios = counts / max(int(counts.sum()), 1)
    people = [len(part) for part in sides]
    return {
        "total_images": len(photos),
        "total_instances": sum(people),
        "images_with_multiple_instances": sum(count > 1 for count in people),
        "pixel_counts": _by_class(counts.tolist()),
        "pixel_ratios": _by_class(ratios.tolist()),
        "instance_count_distribution": {
            str(count): images for count, images in sorted(Counter(people).items())
        },
        "separation_aware_weights": _by_class(separation_aware_weights(ratios).tolist()),
        "box_sizes": _box_sizes(np.concatenate([np.zeros((0, 2), np.float32), *sides])),
        "overlaps": _overlaps(np.concatenate([np.zeros(0, np.float32), *closeness])),
        "mask_size": size,
        "roi_padding": padding,
    }


def _measure_photo(photo: Photo, size: int, padding: float) -> tuple[FloatArray, NDArray[np.int64]]:
    masks = PhotoMasks(photo)
    index = np.flatnonzero(masks.known)
    boxes = np.array([photo.people[i].box_xyxy for i in index], np.float32).reshape(-1, 4)
    labels = roi_targets(masks, padded_rois(boxes, padding, photo.size_hw), index, size)
    counted = np.bincount(labels.ravel(), minlength=256)[: len(MaskClass)]
    return boxes, counted.astype(np.int64)


def _closest(boxes: FloatArray) -> FloatArray:
    """The largest IoU of each box with another one; a crowd's pairs are computed in blocks."""
    closest = np.zeros(len(boxes), np.float32)
    step = max(1, _MAX_PAIRS // max(1, len(boxes)))
    for first in range(0, len(boxes), step):
        iou = box_iou(boxes[first : first + step], boxes)
        iou[np.arange(len(iou)), first + np.arange(len(iou))] = 0
        closest[first : first + step] = iou.max(axis=1, initial=0)
    return closest


def _by_class(values: Sequence[float]) -> dict[str, float]:
    return dict(zip(_CLASS_NAMES, values, strict=True))


def _box_sizes(sides: FloatArray) -> dict[str, Any]:
    if not len(sides):
        return {}
    shorter = sides.min(axis=1)
    columns = {"width": sides[:, 0], "height": sides[:, 1], "shorter_side": shorter}
    sizes: dict[str, Any] = {
        name: {f"p{p}": round(float(np.percentile(values, p)), 1) for p in _PERCENTILES}
        for name, values in columns.items()
    }
    return sizes | {f"shorter_side_below_{px}": int((shorter < px).sum()) for px in (12, 16, 32)}


def _overlaps(closeness: FloatArray) -> dict[str, int]:
    return {f"iou_above_{limit}": int((closeness > limit).sum()) for limit in _OVERLAPS}


def separation_aware_weights(ratios: object) -> NDArray[np.float64]:
    """Class weights float64 [3] of mean 1: minus log of the pixel ratio, non-target times 1.2.

    A class without pixels gets weight 1, the mean of the others.

    Raises:
        ValueError: if the ratios are not three fractions of one whole.
    """
    shares = np.asarray(ratios, np.float64)
    if shares.shape != (len(MaskClass),) or (shares < 0).any() or shares.sum() > 1.01:
        raise ValueError(f"ratios must be 3 shares of one whole, but got {shares.tolist()}")
    weights = np.ones(len(MaskClass))
    present = (shares > 0) & (shares < 1)
    weights[present] = -np.log(shares[present])
    weights[MaskClass.NON_TARGET] *= SEPARATION
    weights[present] /= weights[present].mean() if present.any() else 1.0
    weights[~present] = 1.0
    return weights


def read_weights(path: Path | str) -> NDArray[np.float64]:
    """Class weights float64 [3] of a statistics file: those written, or computed from its ratios.

    Raises:
        InputError: if the file is no statistics file, or its weights are not three above zero.
    """
    check_regular(Path(path), "statistics")
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON ({error!s:.200}): make it anew with 'stats'"
        ) from error
    content = content if isinstance(content, dict) else {}
    if "separation_aware_weights" in content:
        return _three(content["separation_aware_weights"], path, "separation_aware_weights")
    if "pixel_ratios" in content:
        ratios = _three(content["pixel_ratios"], path, "pixel_ratios")
        if ratios.sum() > 1.01:
            way = (
                "they look like percentages: divide them by 100"
                if 99 < ratios.sum() < 101
                else ("make the file anew with 'stats'")
            )
            raise InputError(
                f"{path}: 'pixel_ratios' are {ratios.tolist()} but must be fractions whose sum is "
                f"1: {way}"
            )
        return separation_aware_weights(ratios)
    raise InputError(f"{path} has no 'separation_aware_weights': make it anew with 'stats'")


def _three(values: Any, path: Path | str, key: str) -> NDArray[np.float64]:
    if isinstance(values, dict):
        values = [values.get(name, values.get(str(i))) for i, name in enumerate(_CLASS_NAMES)]
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    limit = np.finfo(np.float32)
    if found.shape != (3,) or not ((found >= limit.tiny) & (found <= limit.max)).all():
        raise InputError(f"{path}: '{key}' must be three numbers above 0, but got {shown(values)}")
    return found


def run_stats(options: StatsOptions) -> None:
    """Measure annotation files together, write the statistics file and print the main numbers."""
    parts = [load_photos(path, path.parent, check_files=False)[0] for path in options.ann]
    result = measure(joined(parts), options.mask_size, options.roi_padding)
    write_atomically(options.output, (json.dumps(result, indent=2) + "\n").encode())
    print(
        f"{result['total_images']} photos, {result['total_instances']} people, "
        f"{result['images_with_multiple_instances']} photos with several"
    )
    for name in _CLASS_NAMES:
        ratio, weight = result["pixel_ratios"][name], result["separation_aware_weights"][name]
        print(f"{name:<11} {ratio:7.2%} of the pixels, weight {weight:.4f}")
    print(f"written to {options.output}")


def find_class_weights(
    data_stats: Path | None, photos: Sequence[Photo], roi_padding: float
) -> tuple[float, ...]:
    """The cross-entropy's class weights from a statistics file, or measured on the photos.

    Raises:
        InputError: if the file that the user typed is missing, or has no usable weights.
    """
    path = data_stats or DEFAULT_DATA_STATS
    exists = os.path.exists(path)
    if data_stats is not None and not exists:
        raise InputError(f"--data_stats {path} does not exist: write it with 'stats', or omit it")
    if exists:
        found, source = read_weights(path).tolist(), f"from {path}"
        if data_stats is None:
            source += ", found here (--data_stats names another file)"
    else:
        stats = measure(photos, padding=roi_padding)
        found = list(stats["separation_aware_weights"].values())
        source = f"measured on {len(photos)} photos"
    _LOGGER.info("class weights %s: %s", " ".join(f"{value:.3f}" for value in found), source)
    return tuple(float(value) for value in found)

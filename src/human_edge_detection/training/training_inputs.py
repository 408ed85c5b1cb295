"""Finds what a training run reads: annotations, photos, the extractor, class weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import (
    BUILTIN,
    DEFAULT_DATA_STATS,
    DEFAULT_ONNX_MODEL,
    DEFAULT_TRAIN_ANN,
    DEFAULT_TRAIN_IMG_DIR,
    DEFAULT_VAL_ANN,
    DEFAULT_VAL_IMG_DIR,
)
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.photo_table import ChosenPhotos, chosen, joined
from human_edge_detection.data.photos import PhotoStore, open_photos
from human_edge_detection.data.sample.sample_data import write_sample_set
from human_edge_detection.data.statistics import measure, read_weights
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.training.config import TrainOptions

LOG = logging.getLogger(__name__)
SAMPLE_ROOT = Path("data/sample")


@dataclass(frozen=True)
class PhotoSets:
    """The photos of a run."""

    train: Sequence[Photo]
    val: Sequence[Photo]


def find_photos(options: TrainOptions) -> PhotoSets:
    """The photos that the options name, or the drawn sample set where there are none.

    Raises:
        InputError: if a path that the user typed does not exist, or a file is not usable.
    """
    for flag, path in (*(("train_ann", path) for path in options.train_ann),
                       ("val_ann", options.val_ann)):  # fmt: skip
        if path is not None and not path.exists():
            raise InputError(f"--{flag} {path} does not exist: check the path")
    typed = options.train_ann or options.val_ann
    if not typed and not DEFAULT_TRAIN_ANN.exists():
        LOG.warning(
            "%s not found (give --train_ann, --train_img_dir, --val_ann and --val_img_dir): "
            "training on the drawn sample set in %s",
            DEFAULT_TRAIN_ANN,
            SAMPLE_ROOT,
        )
        sample = write_sample_set(SAMPLE_ROOT)
        return PhotoSets(
            _load([sample.train_ann], [sample.train_img_dir]),
            _load([sample.val_ann], [sample.val_img_dir]),
        )
    train_ann = options.train_ann or (DEFAULT_TRAIN_ANN,)
    val_ann = options.val_ann or DEFAULT_VAL_ANN
    if not val_ann.exists():
        raise InputError(f"--val_ann was not given and {val_ann} does not exist: name the file")
    train_places, val_place = find_places(options, len(train_ann))
    return PhotoSets(_load(train_ann, train_places), _load([val_ann], [val_place]))


def find_places(
    options: TrainOptions, count: int
) -> tuple[Sequence[Path | PhotoStore], Path | PhotoStore]:
    """Where the photos of each of ``count`` training files and of the validation file are."""
    opened: dict[tuple[Path, ...], Path | PhotoStore] = {}

    def place(paths: tuple[Path, ...], flag: str) -> Path | PhotoStore:
        if paths not in opened:  # an archive's members are listed once
            opened[paths] = open_photos(paths, flag)
        return opened[paths]

    train = options.train_img_dir or (DEFAULT_TRAIN_IMG_DIR,)
    groups = [train] * count if count == 1 or len(train) == 1 else [(path,) for path in train]
    val = options.val_img_dir or (groups[0] if options.train_img_dir else (DEFAULT_VAL_IMG_DIR,))
    train_places = [place(paths, "--train_img_dir") for paths in groups]
    return train_places, place(val, "--val_img_dir")


def repeat_crowds(photos: Sequence[Photo], times: int) -> Sequence[Photo]:
    """The photos, those with masks of two people or more ``times`` times in a row."""
    if times == 1:
        return photos
    targets = [sum(person.is_target for person in photo.people) for photo in photos]
    counts = np.where(np.array(targets) > 1, times, 1)
    return ChosenPhotos([photos], chosen(0, np.repeat(np.arange(len(photos)), counts)))


def _load(annotations: Sequence[Path], places: Sequence[Path | PhotoStore]) -> Sequence[Photo]:
    pairs = zip(annotations, places, strict=True)
    return joined([load_photos(annotation, place)[0] for annotation, place in pairs])


def open_extractor(
    onnx_model: str | None,
    layers: Sequence[str],
    image_size: tuple[int, int],
    device: str,
) -> YOLOv9FeatureExtractor:
    """The frozen extractor that the options name, or the built-in one where there is none.

    Raises:
        InputError: if a file that the user typed does not exist or cannot be used.
    """
    path = Path(onnx_model or DEFAULT_ONNX_MODEL)
    if onnx_model == BUILTIN or (onnx_model is None and not path.exists()):
        if onnx_model is None:
            LOG.warning("%s not found (give --onnx_model FILE): using the built-in extractor", path)
        from human_edge_detection.export.extractors import builtin_extractor_path

        path = builtin_extractor_path(image_size)
    elif not path.exists():
        raise InputError(f"--onnx_model {path} does not exist: check the path, or name {BUILTIN}")
    return YOLOv9FeatureExtractor(
        path, device=device, layers=layers or None, image_size_hw=image_size
    )


def find_class_weights(
    data_stats: Path | None, photos: Sequence[Photo], roi_padding: float
) -> tuple[float, ...]:
    """The cross-entropy's class weights from a statistics file, or measured on the photos.

    Raises:
        InputError: if the file that the user typed is missing, or has no usable weights.
    """
    path = data_stats or DEFAULT_DATA_STATS
    if data_stats is not None and not path.exists():
        raise InputError(f"--data_stats {path} does not exist: write it with 'stats', or omit it")
    if path.exists():
        return tuple(float(value) for value in read_weights(path))
    stats = measure(photos, padding=roi_padding)
    return tuple(float(value) for value in stats["separation_aware_weights"].values())

"""The photos of a run: found, and in batches that the seed and the epoch's number fix."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.options import (
    DEFAULT_TRAIN_ANN,
    DEFAULT_TRAIN_IMG_DIR,
    DEFAULT_VAL_ANN,
    DEFAULT_VAL_IMG_DIR,
    SAMPLE_ROOT,
    at_most_cpus,
)
from human_edge_detection.data.annotations import Photo
from human_edge_detection.data.coco_reader import load_photos
from human_edge_detection.data.dataset import Key, PhotoDataset, ReadablePhotos
from human_edge_detection.data.photo_table import ChosenPhotos, chosen, joined
from human_edge_detection.data.photos import PhotoStore, open_photos
from human_edge_detection.data.sample import write_sample_set
from human_edge_detection.training.distributed import ignore_signals
from human_edge_detection.training.options import DataOptions

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoSets:
    """The photos of a run."""

    train: Sequence[Photo]
    val: Sequence[Photo]


def find_photos(options: DataOptions, *, boxes_suffice: bool = False) -> PhotoSets:
    """The photos that the options name, or the drawn sample set where there are none.

    Args:
        options: the annotations and photos.
        boxes_suffice: also train on photos whose people have boxes without masks.

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
            DEFAULT_TRAIN_ANN, SAMPLE_ROOT,
        )  # fmt: skip
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
    train = _load(train_ann, train_places, boxes_suffice=boxes_suffice)
    return PhotoSets(train, _load([val_ann], [val_place]))


def find_places(
    options: DataOptions, count: int
) -> tuple[Sequence[Path | PhotoStore], Path | PhotoStore]:
    """The places of the photos of ``count`` training files, and of the validation photos."""
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
    """The photos, those with masks of several people ``times`` times in a row."""
    if times == 1:
        return photos
    targets = [sum(person.is_target for person in photo.people) for photo in photos]
    counts = np.where(np.array(targets) > 1, times, 1)
    return ChosenPhotos([photos], chosen(0, np.repeat(np.arange(len(photos)), counts)))


def _load(
    annotations: Sequence[Path],
    places: Sequence[Path | PhotoStore],
    boxes_suffice: bool = False,
) -> Sequence[Photo]:
    pairs = zip(annotations, places, strict=True)
    return joined(
        [load_photos(file, place, boxes_suffice=boxes_suffice)[0] for file, place in pairs]
    )


def photo_loader(
    dataset: PhotoDataset, batches: Iterable[list[Any]], collate: Callable[..., Any], workers: int
) -> DataLoader[Any]:
    """A loader of a data set's readable photos, whose workers live as long as it does.

    Workers that are forked later share the memory of training, and each page written from then on
    is copied.
    """
    workers = at_most_cpus(workers)
    return DataLoader(
        ReadablePhotos(dataset),  # type: ignore[arg-type]  # any sequence will do
        batch_sampler=batches, collate_fn=collate, num_workers=workers,
        worker_init_fn=ignore_signals, persistent_workers=workers > 0,
    )  # fmt: skip


class EpochBatches(Sampler[list[Key]]):
    """The keys of one epoch in batches: a permutation of ``count`` photos by seed and epoch.

    Args:
        count: photos in the data set.
        batch_size: photos a batch; the last batch may be smaller.
        seed: of every epoch's order.
        epoch: number of the epoch.
        skip: batches at the start that were already trained on.
        rank: number of this process.
        processes: share each group of ``processes * batch_size`` photos; all have as many
            batches, but the last may be empty.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int,
        epoch: int,
        skip: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        order = np.random.default_rng((seed, epoch)).permutation(count)
        keys = [(epoch, int(index)) for index in order]
        together = batch_size * processes
        chunks = [keys[i : i + together] for i in range(0, count, together)]
        self.chunks = [chunk[rank::processes] for chunk in chunks[skip:]]

    def __len__(self) -> int:
        return len(self.chunks)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.chunks)


class PresentBatches(Sampler[list[Key]]):
    """The batches of whichever epoch is set as ``present``, so that one loader serves them all."""

    present: EpochBatches

    def __len__(self) -> int:
        return len(self.present)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.present)

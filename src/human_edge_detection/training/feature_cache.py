"""Frozen features of a set of photos on disk, computed once and read in every epoch."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.geometry import letterbox
from human_edge_detection.core.images import as_network_input, read_image
from human_edge_detection.data.annotations import Photo, check_size
from human_edge_detection.modeling.features import Batch, FeatureSource
from human_edge_detection.runtime.feature_extractor import YOLOv9FeatureExtractor
from human_edge_detection.training.state import with_progress

LOG = logging.getLogger(__name__)
HALF_MAX = float(np.finfo(np.float16).max)
SPARE_BYTES = 1 << 30
"""Disk space that filling a cache leaves free."""


class FeatureCache:
    """Half-precision feature maps of photos, and of their mirror images, in one file a layer.

    An interrupted :meth:`fill` goes on where it stopped; a cache made from another extractor,
    other layers or other photos is refused.

    Args:
        directory: folder of the cache, made if absent.
        photos: the photos in the order of the data set.
        extractor: the frozen network.
        image_size: height and width of the letterboxed input.
        with_mirror: also keep the features of each photo's mirror image.
        limit_gb: most gigabytes (1e9 bytes) that it may take; 0 for what the disk has.

    Raises:
        InputError: if the folder holds another cache, or there is too little room.
    """

    def __init__(
        self,
        directory: Path,
        photos: Sequence[Photo],
        extractor: YOLOv9FeatureExtractor,
        image_size: tuple[int, int],
        with_mirror: bool,
        limit_gb: float = 0.0,
    ) -> None:
        self.directory, self.photos, self.extractor = directory, photos, extractor
        self.image_size, self.views = image_size, 2 if with_mirror else 1
        self.shapes = [
            (len(photos) * self.views, c, round(image_size[0] / s), round(image_size[1] / s))
            for c, s in zip(extractor.channels, extractor.strides, strict=True)
        ]
        directory.mkdir(parents=True, exist_ok=True)
        self._claim(self._key(), limit_gb)
        self.maps, self.is_done = self._open()

    @property
    def total_bytes(self) -> int:
        """Size of the whole cache."""
        return sum(2 * int(np.prod(shape)) for shape in self.shapes)

    def fill(self) -> list[int]:
        """Compute what is missing; return the positions of unreadable photos."""
        todo = np.flatnonzero(~self.is_done.reshape(-1, self.views).all(axis=1))
        if len(todo):
            LOG.info("feature cache: %.2f GB in %s", self.total_bytes / 1e9, self.directory)
        unreadable = []
        for index in with_progress(todo, len(todo), "feature cache", "photos"):
            try:
                self._fill_one(int(index))
            except InputError as error:
                LOG.warning("left out: %s", error)
                unreadable.append(int(index))
        return unreadable

    def load(self, index: int, is_mirrored: bool) -> list[NDArray[np.float16]]:
        """The maps float16 [C, h, w] of one photo, one per layer."""
        if is_mirrored and self.views == 1:
            raise LookupError(f"the feature cache {self.directory} holds no mirror images")
        row = index * self.views + int(is_mirrored)
        if not self.is_done[row]:
            raise LookupError(f"photo {index} is not in the feature cache {self.directory}")
        return [maps[row] for maps in self.maps]

    def _fill_one(self, index: int) -> None:
        photo = self.photos[index]
        image = read_image(photo.file)
        check_size(photo, image)
        view, _ = letterbox(image, self.image_size)
        for mirrored in range(self.views):
            row = index * self.views + mirrored
            if not self.is_done[row]:
                shown = view[:, ::-1] if mirrored else view
                for maps, feature in zip(
                    self.maps, self.extractor(as_network_input(shown[None])), strict=True
                ):
                    maps[row] = np.clip(feature[0], -HALF_MAX, HALF_MAX)
                self.is_done[row] = True

    def _key(self) -> str:
        names = "\n".join(f"{photo.path} {photo.size_hw}" for photo in self.photos)
        facts = {
            "extractor": self.extractor.sha,
            "layers": list(self.extractor.layers),
            "image_size": list(self.image_size),
            "views": self.views,
            "photos": hashlib.sha256(names.encode()).hexdigest()[:16],
        }
        return json.dumps(facts, indent=1)

    def _claim(self, key: str, limit_gb: float) -> None:
        path = self.directory / "cache.json"
        if path.exists():
            if path.read_text() != key:
                raise InputError(
                    f"--cache_features {self.directory} holds the features of other photos, "
                    "layers or another extractor: name another folder, or delete this one"
                )
            return
        if 0 < limit_gb * 1e9 < self.total_bytes:
            raise InputError(
                f"--cache_features {self.directory} needs {self.total_bytes / 1e9:.2f} GB, more "
                f"than --cache_limit {limit_gb:g}: raise it, name fewer --layers, or leave it out"
            )
        free = shutil.disk_usage(self.directory).free
        if self.total_bytes + SPARE_BYTES > free:
            raise InputError(
                f"--cache_features {self.directory} needs {self.total_bytes / 1e9:.1f} GB, but "
                f"{free / 1e9:.1f} GB are free: name a folder on a larger disk, or leave it out"
            )
        path.write_text(key)

    def _open(self) -> tuple[list[NDArray[np.generic]], NDArray[np.generic]]:
        """The files of the layers and the flags of finished rows, made unless the flags exist."""
        names = [self.directory / f"layer_{i}.npy" for i in range(len(self.shapes))]
        flags = self.directory / "done.npy"
        if not flags.exists():  # written last: without it no layer file is known to be whole
            for name, shape in zip(names, self.shapes, strict=True):
                open_memmap(name, mode="w+", dtype=np.float16, shape=shape)
            unfinished = flags.with_suffix(".tmp.npy")
            np.save(unfinished, np.zeros(len(self.photos) * self.views, np.bool_))
            unfinished.replace(flags)
        return [open_memmap(name, mode="r+") for name in names], open_memmap(flags, mode="r+")


def cached_features(cache: FeatureCache) -> FeatureSource:
    """A source that reads what the cache holds of the batch's photos."""

    def features(batch: Batch) -> list[Tensor]:
        rows = [cache.load(s.photo_index, s.is_mirrored) for s in batch.samples]
        stacked = (np.stack(maps).astype(np.float32) for maps in zip(*rows, strict=True))
        return [torch.from_numpy(maps) for maps in stacked]

    return features

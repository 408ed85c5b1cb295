"""Which photos make a batch, and the batch that they make."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from human_edge_detection.core.errors import InputError
from human_edge_detection.core.structures import RoiSample
from human_edge_detection.data.dataset import Key, PhotoDataset

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Some prepared photos, stacked.

    Attributes:
        images: uint8 [B, 3, H, W] RGB, or None where the features are cached.
        rois: float32 [N, 5], ``batch_idx, x1, y1, x2, y2`` in input pixels.
        targets: uint8 [N, M, M].
        samples: what was stacked.
    """

    images: Tensor | None
    rois: Tensor
    targets: Tensor
    samples: tuple[RoiSample, ...]


class ReadablePhotos(Dataset["RoiSample | None"]):
    """A data set that answers None, and says so in the log, for a photo it cannot read."""

    def __init__(self, dataset: PhotoDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int | Key) -> RoiSample | None:
        try:
            return self.dataset[key]
        except InputError as error:
            LOG.warning("left out: %s", error)
            return None


class EpochBatches(Sampler[list[Key]]):
    """The keys of one epoch in batches: a permutation fixed by seed and epoch.

    Args:
        count: photos in the data set.
        batch_size: photos a batch; the last batch may be smaller.
        seed: seed of the order.
        epoch: number of the epoch.
        skip: batches at the start that were already trained on.
        rank: number of this process.
        processes: processes that share each group of ``processes * batch_size`` photos; all have
            as many batches, but the last may be empty.
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

    def __init__(self) -> None:
        """No epoch is set yet."""

    def __len__(self) -> int:
        return len(self.present)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.present)


def collate(samples: Sequence[RoiSample | None]) -> Batch:
    """The readable ones of some samples as one batch."""
    known = tuple(sample for sample in samples if sample is not None)
    with_images = bool(known) and all(sample.image.size for sample in known)
    images = np.stack([sample.image for sample in known]) if with_images else None
    rois = [
        np.concatenate([np.full((len(sample.rois), 1), i, np.float32), sample.rois], axis=1)
        for i, sample in enumerate(known)
    ]
    targets = [sample.targets for sample in known]
    return Batch(
        images=None if images is None else torch.from_numpy(images).permute(0, 3, 1, 2),
        rois=torch.from_numpy(np.concatenate(rois) if rois else np.zeros((0, 5), np.float32)),
        targets=torch.from_numpy(np.concatenate(targets or [np.zeros((0, 1, 1), np.uint8)])),
        samples=known,
    )

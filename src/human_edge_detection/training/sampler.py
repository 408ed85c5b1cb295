"""Which photos make each batch of an epoch, fixed by the seed and the epoch's number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from human_edge_detection.data.dataset import Key


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

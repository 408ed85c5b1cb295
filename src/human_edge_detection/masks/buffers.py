"""Memory that is used over and over by the many small steps of one job."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_KEPT = 1 << 24
"""Bytes: a larger array is not kept, so that one huge crowd does not hold memory for ever."""


ALIGNMENT = 64
"""Bytes of a cache line: sums over arrays that begin with one are a fifth faster."""


class Scratch:
    """Arrays by name whose memory is kept, since fresh memory often costs more than the sums in it.

    One thread's: an array is valid until the same name is asked for again.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._flat: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[Any]:
        """An array of ``shape`` with whatever it held last; a name always has the same dtype."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.size < size:
            flat = _aligned(size, dtype)
            if flat.nbytes <= MOST_KEPT:
                self._flat[name] = flat
        return np.ndarray(shape, dtype, flat)


def _aligned(size: int, dtype: type) -> NDArray[Any]:
    raw = np.empty(size * np.dtype(dtype).itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(size, dtype, raw, -raw.ctypes.data % ALIGNMENT)


_kept = threading.local()


def kept_scratch() -> Scratch:
    """The calling thread's own, which outlasts a call: some systems take long to give memory."""
    if not hasattr(_kept, "scratch"):
        _kept.scratch = Scratch()
    scratch: Scratch = _kept.scratch
    return scratch

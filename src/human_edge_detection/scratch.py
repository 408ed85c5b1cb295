"""Memory that is used over and over by the many small steps of one job."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
            flat = self._flat[name] = np.empty(size, dtype)
        return flat[:size].reshape(shape)

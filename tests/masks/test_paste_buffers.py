"""Memory that is kept between the steps of a job."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from human_edge_detection.masks import paste
from human_edge_detection.masks.paste import ALIGNMENT, BufferPool, thread_buffers


def test_a_name_s_memory_is_used_again():
    kept = BufferPool()
    first = kept.array("a", (3, 5))
    first[:] = 7
    assert (kept.array("a", (5, 2)) == 7).all()
    assert kept.array("b", (3, 5), np.uint8).dtype == np.uint8
    assert not np.shares_memory(first, kept.array("b", (3, 5), np.uint8))
    assert np.shares_memory(first, kept.array("a", (15,)))
    assert kept.array("a", (0, 4)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_arrays_begin_with_a_cache_line(dtype):
    kept = BufferPool()
    for size in (1, 1000, 12345, 200001):
        assert kept.array("a", (size,), dtype).ctypes.data % ALIGNMENT == 0


def test_a_huge_array_is_not_kept(monkeypatch):
    monkeypatch.setattr(paste, "MOST_KEPT", 400)
    kept = BufferPool()
    small = kept.array("a", (100,))
    large = kept.array("a", (101,))
    assert large.shape == (101,) and not np.shares_memory(small, large)
    assert np.shares_memory(small, kept.array("a", (100,)))


def test_every_thread_has_its_own():
    assert thread_buffers() is thread_buffers()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(thread_buffers).result() is not thread_buffers()

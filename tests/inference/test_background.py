"""Reading ahead keeps the order and the bounds; writing behind passes errors on."""

from __future__ import annotations

import threading
import time

import pytest

from human_edge_detection.core.errors import InputError
from human_edge_detection.inference.background import BackgroundWriter, read_ahead


def test_results_come_in_order_whoever_is_faster():
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * 10

    assert list(read_ahead(slow_first, range(9), 3)) == [(n, n * 10) for n in range(9)]


def test_errors_are_results_like_others():
    def read(number: int) -> int:
        if number == 1:
            raise InputError("bad photo")
        if number == 3:
            raise KeyError("a bug")
        return number

    results = [result for _, result in read_ahead(read, range(5), 2)]
    assert (results[0], results[2], results[4]) == (0, 2, 4)
    assert isinstance(results[1], InputError) and isinstance(results[3], KeyError)


def test_only_a_few_are_read_ahead():
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = read_ahead(lambda number: number, items(), 2)
    next(results)
    assert len(taken) <= 6
    results.close()


def test_everything_is_written_when_the_block_ends():
    written: list[int] = []
    with BackgroundWriter(1) as writer:
        for number in range(20):
            writer.submit(lambda number=number: written.append(number))
    assert written == list(range(20))


def test_a_writer_that_fails_stops_the_run_with_its_error():
    def fail() -> None:
        raise InputError("the disk is full")

    written: list[int] = []
    with pytest.raises(InputError, match="full"), BackgroundWriter(1) as writer:
        writer.submit(fail)
        for number in range(50):
            writer.submit(lambda number=number: written.append(number))
    assert written == []


def test_handing_over_waits_for_slow_writers():
    gate = threading.Event()
    with BackgroundWriter(1) as writer:
        for _ in range(2):
            writer.submit(gate.wait)
        blocked = threading.Thread(target=writer.submit, args=(lambda: None,))
        blocked.start()
        blocked.join(0.05)
        assert blocked.is_alive()
        gate.set()
        blocked.join(5)
        assert not blocked.is_alive()

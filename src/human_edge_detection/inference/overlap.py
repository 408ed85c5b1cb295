"""Lets reading, inference and writing run at the same time, with bounded memory and in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from human_edge_detection.core.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result | InputError]]:
    """Each item with the function's result, in order, while threads work on the next ones.

    Args:
        function: what the threads do.
        items: taken one by one, never more than twice ``workers`` ahead.
        workers: number of threads.

    Yields:
        the item, and its result or the ``InputError`` that it raised; other errors are raised.
    """
    pending: deque[tuple[Item, Future[Result | InputError]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(_attempt, function, item)))
                if len(pending) > 2 * workers:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | InputError:
    try:
        return function(item)
    except InputError as error:
        return error


class BackgroundWriter:
    """Threads that write results; handing over waits when too many are unwritten.

    Used as a context manager, which waits for the last one. With one worker, jobs run in the
    order in which they were handed over.
    """

    def __init__(self, workers: int) -> None:
        """Start the threads."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
        self._room = threading.Semaphore(2 * workers)
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Hand over a job.

        Raises:
            BaseException: what an earlier job raised; the job is not taken then.
        """
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        self._pool.submit(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            if self._error is None:
                job()
        except BaseException as error:  # handed to the thread that submits, which raises it
            self._error = self._error or error
        finally:
            self._room.release()

    def __enter__(self) -> BackgroundWriter:
        """The writer itself."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait for all jobs; raise what one of them raised, unless something else is raised."""
        self._pool.shutdown(wait=True)
        if error is None and self._error is not None:
            raise self._error

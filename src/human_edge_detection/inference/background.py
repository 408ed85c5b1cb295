"""Threads that read ahead of the work and write behind it, in order and in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result | Exception]]:
    """Each item with the function's result, in order, while threads process the next ones.

    Args:
        function: called in the threads.
        items: taken one by one, at most twice ``workers`` ahead.
        workers: number of threads.

    Yields:
        the item, and its result or the exception that it raised.
    """
    pending: deque[tuple[Item, Future[Result | Exception]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="read") as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(_attempt, function, item)))
                if len(pending) > 2 * workers:
                    yield pending[0][0], pending.popleft()[1].result()
            while pending:
                yield pending[0][0], pending.popleft()[1].result()
        finally:
            for _, future in pending:
                future.cancel()


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return function(item)
    except Exception as error:
        return error


class BackgroundWriter:
    """Threads that write results; :meth:`submit` waits while too many are unwritten.

    A context manager, which waits for the last job. With one worker, jobs run in the order in
    which they were submitted.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
        self._room = threading.Semaphore(2 * workers)
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], None]) -> None:
        """Submit a job.

        Raises:
            BaseException: what an earlier job raised; the new job is then not run.
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
        except BaseException as error:  # raised again in the thread that submits
            self._error = self._error or error
        finally:
            self._room.release()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Wait for all jobs; raise what one of them raised, unless something else is raised."""
        self._pool.shutdown(wait=True)
        if error is None and self._error is not None:
            raise self._error

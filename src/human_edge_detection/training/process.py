"""The process that trains: its memory allocator, and signals that stop it after a step."""

from __future__ import annotations

import ctypes
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# From malloc.h of the GNU C library; see mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEP_ALL = 2**31 - 1
_GROW_BY = 64 << 20


def keep_freed_memory() -> bool:
    """Keep freed memory for the next training step; return False if the C library is not GNU's.

    Every step takes and frees the same large blocks. By default the C library maps each of them
    anew, and the system fills it with zeros page by page, which costs a tenth to a third of the
    CPU's time. Afterwards blocks come from the heap, which is neither trimmed nor bypassed by
    mappings of their own. The process stays at its peak size until it ends; children that it forks
    do the same.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wishes = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEEP_ALL), (_TOP_PAD, _GROW_BY))
    return all([mallopt(name, value) == 1 for name, value in wishes])


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A request that the first Ctrl-C or SIGTERM sets; a second Ctrl-C interrupts at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals(_worker_id: int = 0) -> None:
    """Leave Ctrl-C and SIGTERM to the main process; each loader worker calls this first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

"""Keeps freed memory for the next training step instead of handing it back to the system.

Every step of training takes and frees the same large blocks. The C library maps each of them anew,
and the system fills it with zeros page by page; a CPU spends a tenth to a third of its time on it.
"""

from __future__ import annotations

import ctypes
import platform

# From malloc.h of the GNU C library; see mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEP_ALL = 2**31 - 1
_GROW_BY = 64 << 20


def keep_freed_memory() -> bool:
    """Whether the C library now keeps what this process frees; False where it is not GNU's.

    Blocks come from the heap, which is neither trimmed nor bypassed by mappings of their own. The
    process stays at its peak size until it ends; children that it forks do the same.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wishes = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _KEEP_ALL), (_TOP_PAD, _GROW_BY))
    return all([mallopt(name, value) == 1 for name, value in wishes])

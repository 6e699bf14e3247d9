"""Keeps freed memory for the next record: otherwise reading costs more in page faults than in copying.

A record of features is 100 to 300 KB. Above 128 KB the C library asks the kernel for fresh pages at every
allocation and gives them back at once; the kernel has to clear each of them. Held on to, they are reused.
"""

import ctypes
import functools

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
LARGEST = 32 << 20  # bytes; the most that glibc takes for its threshold, and more than an array of a batch
KEPT = 256 << 20  # free bytes that a process holds on to


@functools.cache
def keep_freed() -> bool:
    """Has this process keep up to `KEPT` free bytes; whether it does. Only glibc can: elsewhere nothing changes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    options = ((_MMAP_THRESHOLD, LARGEST), (_TRIM_THRESHOLD, KEPT), (_TOP_PAD, LARGEST))
    done = [mallopt(option, value) for option, value in options]
    return all(done)

"""Lets glibc keep freed memory for the next step.

glibc hands the end of a heap back to the kernel as soon as 128 KiB of it are free, or twice its
largest block of late; the next step maps it anew and the kernel clears every page of it. Of nano
that was a fifth of a step with one object: 1,600 pages, 38 ms of processor time in place of 31.
"""

from __future__ import annotations

import ctypes
import os

# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Bound on what stays at the end of a heap; beyond it, all of that goes back.
KEPT_BYTES = 256 << 20
# Larger blocks are mapped separately and returned at once: glibc's own upper limit.
LARGEST_KEPT_BLOCK_BYTES = 32 << 20
# Settings of the user take precedence.
_SAID_OTHERWISE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Set glibc's limits for this process; whether that was possible. Elsewhere nothing is done."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in _SAID_OTHERWISE):
        return False
    is_set = mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(is_set and mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK_BYTES))

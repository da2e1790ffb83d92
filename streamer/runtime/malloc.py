"""Memory that was freed stays with the process until the next step asks for it again.

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
# Larger blocks are mapped for themselves and go back at once: the most that glibc comes to by
# itself.
LARGEST_KEPT_BLOCK_BYTES = 32 << 20
# Who has said something about this is heard.
_SAID_OTHERWISE = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Tell glibc, for this process; whether it was told. Elsewhere nothing is done."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in _SAID_OTHERWISE):
        return False
    told = mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(told and mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK_BYTES))

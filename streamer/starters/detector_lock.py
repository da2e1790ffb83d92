"""One detection pass at a time for each stream, and for each detector that streams share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable
from contextlib import ExitStack
from weakref import WeakValueDictionary

# Bound: threads that detect, for as many streams as there can be and for some that hang, since a
# hanging thread cannot be ended. Policy: no further pass begins before one of them returns.
PASSES_AT_ONCE = 72


class _Lock(asyncio.Lock):
    """Knows since when a pass runs; infinity while its holder still waits for another lock."""

    running_since_s = math.inf


class DetectorLock:
    """Locks by stream and by detector, used on the event loop; first come, first served."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, _Lock] = WeakValueDictionary()
        self._threads = asyncio.Semaphore(PASSES_AT_ONCE)

    async def acquire(self, *keys: Hashable) -> ExitStack:
        """Acquire the locks of all ``keys``, always given in the same order; closing releases them.

        Close it when the pass's thread has ended, also if nothing waits for the thread.
        """
        locks = [self._locks.setdefault(each, _Lock()) for each in keys]
        with ExitStack() as held:
            for lock in locks:
                await lock.acquire()
                held.callback(lock.release)
                lock.running_since_s = math.inf
            await self._threads.acquire()
            held.callback(self._threads.release)
            for lock in locks:
                lock.running_since_s = asyncio.get_running_loop().time()
            return held.pop_all()

    def blocked_s(self, *keys: Hashable) -> float:
        """For how long the pass that these keys wait for has been running."""
        now_s = asyncio.get_running_loop().time()
        waited_for = tuple(self._locks) if self._threads.locked() else keys
        locks = [self._locks.get(each) for each in waited_for]
        since_s = [lock.running_since_s for lock in locks if lock is not None and lock.locked()]
        return max(0.0, now_s - min(since_s, default=now_s))

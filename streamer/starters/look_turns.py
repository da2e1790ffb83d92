"""Whose look may begin: one at a time of each stream, and of each detector that streams share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable
from contextlib import ExitStack
from weakref import WeakValueDictionary

# Bound: threads that look, of as many streams as there can be and of some that were left: a
# thread that hangs cannot be ended. Policy: no further look begins before one of them returns.
LOOKS_AT_ONCE = 72


class _Lock(asyncio.Lock):
    """Knows since when there is a look; who holds it may be waiting for another one still."""

    looking_since_s = math.inf


class LookTurns:
    """Used on the event loop. Who has waited longest is next."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, _Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def take(self, *whose: Hashable) -> ExitStack:
        """Wait for the turn of all of ``whose``, always given in one order; closing gives it back.

        It is to be closed when the look's thread has ended, also if nobody waits for that.
        """
        locks = [self._locks.setdefault(each, _Lock()) for each in whose]
        with ExitStack() as turn:
            for lock in locks:
                await lock.acquire()
                turn.callback(lock.release)
                lock.looking_since_s = math.inf
            await self._places.acquire()
            turn.callback(self._places.release)
            for lock in locks:
                lock.looking_since_s = asyncio.get_running_loop().time()
            return turn.pop_all()

    def lasting_s(self, *whose: Hashable) -> float:
        """For how long the look has lasted that these wait for."""
        now_s = asyncio.get_running_loop().time()
        waited_for = tuple(self._locks) if self._places.locked() else whose
        locks = [self._locks.get(each) for each in waited_for]
        since_s = [lock.looking_since_s for lock in locks if lock is not None and lock.locked()]
        return max(0.0, now_s - min(since_s, default=now_s))

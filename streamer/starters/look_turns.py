"""Whose look may begin: one at a time of each stream, and of each detector that streams share."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from contextlib import ExitStack
from weakref import WeakValueDictionary

# Bound: threads that look, of as many streams as there can be and of some that were left: a
# thread that hangs cannot be ended. Policy: no further look begins before one of them returns.
LOOKS_AT_ONCE = 72


class LookTurns:
    """Used on the event loop. Who has waited longest is next."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def take(self, *whose: Hashable) -> ExitStack:
        """Wait for the turn of all of ``whose``, always given in one order; closing gives it back.

        It is to be closed when the look's thread has ended, also if nobody waits for that.
        """
        wanted: list[asyncio.Lock | asyncio.Semaphore] = [
            self._locks.setdefault(each, asyncio.Lock()) for each in whose
        ]
        with ExitStack() as turn:
            for lock in (*wanted, self._places):
                await lock.acquire()
                turn.callback(lock.release)
            return turn.pop_all()

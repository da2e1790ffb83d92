"""A thread that works on the newest item only, and skips those it is too slow for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from streamer.runtime.threads import start_thread

ItemT = TypeVar("ItemT")
_log = logging.getLogger(__name__)


class NewestWorker(Generic[ItemT]):
    """Runs ``work`` on what ``offer`` gives, in a thread of its own.

    Bound: one item waits; policy: a newer one replaces it, which ``on_superseded`` counts. Made
    and used on the event loop; ``work`` runs in the thread.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[ItemT], None],
        *,
        on_superseded: Callable[[], None] = lambda: None,
        on_failed: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_failed`` is called on the event loop when ``work`` raised: the thread has ended."""
        self._work = work
        self._on_superseded = on_superseded
        self._condition = threading.Condition()
        self._waiting: ItemT | None = None
        self._closed = False
        self._on_failed = on_failed
        self._name = name
        self._ended = start_thread(name, self._run)
        self._ended.add_done_callback(self._report)

    def offer(self, item: ItemT) -> None:
        """Make ``item`` the next to work on."""
        with self._condition:
            superseded = self._waiting is not None
            self._waiting = item
            self._condition.notify()
        if superseded:
            self._on_superseded()

    def close(self) -> None:
        """End the thread after its current item; a waiting one is dropped."""
        with self._condition:
            self._closed = True
            self._waiting = None
            self._condition.notify()

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the thread has ended."""
        return self._ended

    def _run(self) -> None:
        while True:
            with self._condition:
                while self._waiting is None and not self._closed:
                    self._condition.wait()
                if self._closed:
                    return
                item, self._waiting = self._waiting, None
            assert item is not None
            self._work(item)

    def _report(self, ended: asyncio.Future[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            _log.error("%s ended by an error", self._name, exc_info=error)
            self._on_failed()

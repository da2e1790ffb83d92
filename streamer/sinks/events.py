"""Events for HTTP clients: a bounded store, and waiting for the next one."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from streamer.sinks.json_messages import JsonEvent, json_event
from streamer.types import Published, StreamEvent

# Bound; policy: the oldest event is dropped, and a reader that asks for it gets ``Missed``.
EVENTS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place in the sequence of this daemon's life."""

    number: int
    event: JsonEvent


@dataclass(frozen=True, slots=True)
class Missed:
    """Events that a reader missed and can no longer get; None: their number is unknown."""

    count: int | None


class EventHub:
    """A sink that keeps the newest ``EVENTS_KEPT`` events, for any number of readers.

    A reader has a position in the store and no queue of its own: a slow one falls behind in the
    store and gets the number of events it missed. Event ids are ``EPOCH-NUMBER``; the epoch is new
    with every start of the daemon, so that ids of an earlier run are recognised.
    """

    name = "events"

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self._stored: deque[StoredEvent] = deque(maxlen=EVENTS_KEPT)
        self._next_number = 1
        self._changed = asyncio.Event()
        self._closed = False

    async def start(self) -> None:
        """Nothing to open."""

    def wants(self, item: Published) -> bool:
        """Events only."""
        return isinstance(item, StreamEvent)

    async def publish(self, item: Published) -> None:
        """Store an event."""
        if isinstance(item, StreamEvent):
            self.add(json_event(item))

    def add(self, event: JsonEvent) -> None:
        """Store an event and wake the readers."""
        self._stored.append(StoredEvent(self._next_number, event))
        self._next_number += 1
        self._wake()

    async def close(self) -> None:
        """End every reader."""
        self.end_readers()

    def end_readers(self) -> None:
        """Let every ``read`` end after the stored events."""
        self._closed = True
        self._wake()

    def id_of(self, stored: StoredEvent) -> str:
        """The Last-Event-ID with which a reader continues after this event."""
        return f"{self.epoch}-{stored.number}"

    def start_of(self, last_event_id: str | None, last: int) -> tuple[int, Missed | None]:
        """The number of the first event to send, and how many are missing before it.

        Without an id: the ``last`` newest events. An invalid id, or an earlier run's, starts at
        the oldest stored event.
        """
        oldest = self._next_number - len(self._stored)
        if last_event_id is None:
            return max(oldest, self._next_number - last), None
        epoch, _, number_text = last_event_id.partition("-")
        is_number = number_text.isascii() and number_text.isdigit() and len(number_text) < 19
        if epoch != self.epoch or not is_number or int(number_text) >= self._next_number:
            return oldest, Missed(None)
        wanted = int(number_text) + 1
        return max(wanted, oldest), Missed(oldest - wanted) if wanted < oldest else None

    async def read(
        self, start: int, wants: Callable[[str], bool], idle_s: float
    ) -> AsyncIterator[StoredEvent | Missed | None]:
        """Events from number ``start`` on of the wanted streams; None after ``idle_s`` of none."""
        wanted = start
        while True:
            oldest = self._next_number - len(self._stored)
            if wanted < oldest:
                yield Missed(oldest - wanted)
                wanted = oldest
                continue
            if wanted < self._next_number:
                stored = self._stored[wanted - oldest]
                wanted += 1
                if wants(stored.event.stream_id):
                    yield stored
                continue
            if self._closed:
                return
            try:
                async with asyncio.timeout(idle_s):
                    await self._changed.wait()
            except TimeoutError:
                yield None

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

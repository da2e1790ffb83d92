"""Events of all workers and of the fleet itself, in one store that readers follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import msgspec

from streamer.api.server.problems import ProblemError
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.line import Line
from streamer.fleet.view import FleetEvent, FleetView
from streamer.sinks.events import EventHub
from streamer.sinks.json_messages import JsonEvent
from streamer.types import EventKind

# A stream of events that is idle carries a comment every 15 s.
SILENCE_S = 45.0
AGAIN_S = 1.0
# Of a worker that was there before us; one that begins while we listen has had no more.
PAST_EVENTS = 64
EVENT_BYTES = 1 << 20
_REMOVED = "stream_removed"
_log = logging.getLogger(__name__)


class FleetEvents:
    """Follows each worker's ``/v1/events`` and the fleet's own events into one ``EventHub``.

    Bound: the hub's store, a task for each worker, ``EVENT_BYTES`` for an event that arrives.
    """

    def __init__(self, fleet: KnownFleet) -> None:
        self.hub = EventHub()
        self._fleet = fleet
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._number = -1
        self._changed = asyncio.Event()
        fleet.on_change(self._take)

    async def run(self) -> None:
        """Follow the workers that there are, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                lines = {line.worker.worker_id: line for line in self._fleet.lines}
                for worker_id in self._followed.keys() - lines.keys():
                    self._followed.pop(worker_id).cancel()
                for worker_id in lines.keys() - self._followed.keys():
                    task = tasks.create_task(self._follow(lines[worker_id]))
                    self._followed[worker_id] = task
                await self._changed.wait()
                self._changed.clear()

    def _take(self, view: FleetView) -> None:
        """Add the fleet's events that are new."""
        new = [event for event in view.events if event.number > self._number]
        for event in new:
            self.hub.add(self._fleets(event))
        if new:
            self._number = new[-1].number
        self._changed.set()

    async def _follow(self, line: Line) -> None:
        """Every event of one worker, over broken connections, until cancelled."""
        last: str | None = None
        while True:
            try:
                async with line.lasting():
                    async for event_id, event in _events(line, last):
                        last = event_id
                        if not self._is_of_a_move(event):
                            self.hub.add(event)
            except ProblemError as problem:
                _log.debug("events of worker %s: %s", line.worker.worker_id, problem.detail)
            await asyncio.sleep(AGAIN_S)

    def _is_of_a_move(self, event: JsonEvent) -> bool:
        """Whether a stream goes on elsewhere: the fleet has an event of that."""
        is_removal = event.kind == EventKind.STREAM_DOWN and event.reason == _REMOVED
        return is_removal and self._fleet.has(event.stream_id)

    def _fleets(self, event: FleetEvent) -> JsonEvent:
        worker = self._fleet.worker(event.worker_id)
        where = "" if worker is None else f" on {worker.node}"
        return JsonEvent(
            kind=event.kind.value,
            stream_id=event.stream_id or "",
            time_ns=event.time_ns,
            time_ms=event.time_ns / 1e6,
            reason=event.reason,
            object_id=None,
            label=None,
            request_id=None,
            frame_index=None,
            detail=None if event.worker_id is None else f"worker {event.worker_id}{where}",
            absent_s=None,
        )


async def _events(line: Line, last: str | None) -> AsyncIterator[tuple[str | None, JsonEvent]]:
    """The events of a worker with their ids, after the one with the id ``last``."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with line.client.stream(
        "GET",
        f"/v1/events?last={PAST_EVENTS}",
        headers=headers,
        timeout=httpx.Timeout(SILENCE_S),
    ) as answer:
        if answer.status_code != 200:
            return
        event_id: str | None = None
        async for text in _lines(answer):
            name, _, value = text.partition(b":")
            if name == b"id":
                event_id = value.strip().decode("ascii", "replace")
            elif name == b"data" and event_id is not None:
                try:
                    yield event_id, msgspec.json.decode(value, type=JsonEvent)
                except msgspec.MsgspecError:
                    _log.debug("worker %s sent an event that is none", line.worker.worker_id)
            elif not text:
                event_id = None


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for part in answer.aiter_raw():
        *whole, rest = (rest + part).split(b"\n")
        for each in whole:
            yield each.rstrip(b"\r")
        if len(rest) > EVENT_BYTES:
            return

"""The newest view of a fleet, kept while its manager is away, and the lines to its workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from streamer.api.server.problems import ProblemError
from streamer.errors import FleetError, UnknownStreamError
from streamer.fleet.gateway.line import RETRY_AFTER_S, Line, away
from streamer.fleet.view import (
    Fleet,
    FleetView,
    Stream,
    StreamState,
    Worker,
    WorkerAccess,
    WorkerState,
)

# The manager answers a question for news after this time at the latest.
VIEW_TIMEOUT_S = 10.0
MANAGER_RETRY_S = 1.0
# A change that was answered is in the view after at most this time, or the manager is away.
CHANGE_TIMEOUT_S = 5.0
POLL_S = 0.1
_log = logging.getLogger(__name__)


class KnownFleet:
    """What the gateway knows of its fleet. Used on the event loop.

    Bound: one view and a line for each worker in it. Without its manager the fleet's last view
    stays valid: viewers of streams that run notice nothing.
    """

    def __init__(self, fleet: Fleet, connections: int) -> None:
        """``connections`` bounds the requests to each worker at once."""
        self.fleet = fleet
        self._connections = connections
        self.view = FleetView("", -1)
        self.access = WorkerAccess()
        self.is_current = False
        self._lines: dict[str, Line] = {}
        self._streams: dict[str, Stream] = {}
        self._workers: dict[str, Worker] = {}
        self._changed = asyncio.Condition()
        self._listeners: list[Callable[[FleetView], None]] = []

    def on_change(self, listener: Callable[[FleetView], None]) -> None:
        """Call ``listener`` with every new view."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """The first view. Raises ``FleetError``."""
        self.access = await self.fleet.access()
        await self._take(await self.fleet.view())

    async def run(self) -> None:
        """Follow the fleet, until cancelled."""
        while True:
            try:
                if not self.is_current:  # a manager that was away may have made new credentials
                    self.access = await self.fleet.access()
                view = await self.fleet.view(self.view.revision, VIEW_TIMEOUT_S)
            except FleetError as error:
                if self.is_current:
                    _log.warning("the fleet's last view stays valid: %s", error)
                self.is_current = False
                await asyncio.sleep(MANAGER_RETRY_S)
                continue
            if view.revision != self.view.revision or not self.is_current:
                await self._take(view)

    async def close(self) -> None:
        """End what uses the workers."""
        lines, self._lines = self._lines, {}
        await asyncio.gather(*(line.close() for line in lines.values()))

    @property
    def lines(self) -> list[Line]:
        """The workers that answer."""
        return list(self._lines.values())

    @property
    def answering(self) -> frozenset[str]:
        """Their ids."""
        return frozenset(self._lines)

    def stream(self, stream_id: str) -> Stream:
        """A wanted stream. Raises ``UnknownStreamError``."""
        stream = self._streams.get(stream_id)
        if stream is None:
            raise UnknownStreamError(f"there is no stream {stream_id!r} in the fleet")
        return stream

    def has(self, stream_id: str) -> bool:
        """Whether a stream is wanted."""
        return stream_id in self._streams

    def worker(self, worker_id: str | None) -> Worker | None:
        """A worker of the view."""
        return None if worker_id is None else self._workers.get(worker_id)

    def line_of_worker(self, worker_id: str) -> Line:
        """Raises ``ProblemError``: 404 for a worker that is none (any more), 503 for one away."""
        line = self._lines.get(worker_id)
        if line is not None:
            return line
        worker = self._workers.get(worker_id)
        if worker is None:
            raise ProblemError(404, "there is no such worker (any more)", "unknown_worker")
        raise away(worker)

    def line_of(self, stream_id: str) -> Line:
        """The worker that has a stream. Raises ``UnknownStreamError``, ``ProblemError`` (503)."""
        stream = self.stream(stream_id)
        if stream.worker_id is not None and stream.worker_id in self._workers:
            return self.line_of_worker(stream.worker_id)
        raise ProblemError(
            503, why_away(stream), "stream_waiting", headers={"Retry-After": str(RETRY_AFTER_S)}
        )

    async def until(
        self, condition: Callable[[], bool], timeout_s: float = CHANGE_TIMEOUT_S
    ) -> bool:
        """Wait until the view fulfils ``condition``; whether it did in time."""
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            return False
        return True

    async def polled(
        self, condition: Callable[[], Awaitable[bool]], timeout_s: float = CHANGE_TIMEOUT_S
    ) -> bool:
        """``until`` for what the view does not show: asks again and again."""
        deadline_s = time.monotonic() + timeout_s
        while not await condition():
            if time.monotonic() >= deadline_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _take(self, view: FleetView) -> None:
        self.view, self.is_current = view, True
        self._streams = {each.stream_id: each for each in view.streams}
        self._workers = {each.worker_id: each for each in view.workers}
        gone = [each for each in self._lines.values() if not self._is_served(each)]
        for each in gone:
            del self._lines[each.worker.worker_id]
        for worker in view.workers:
            if (line := self._lines.get(worker.worker_id)) is not None:
                line.worker = worker
            elif worker.http is not None and worker.state in _ANSWERING:
                self._lines[worker.worker_id] = Line(
                    worker, worker.http, self.access.token, self._connections
                )
        for listener in self._listeners:
            listener(view)
        async with self._changed:
            self._changed.notify_all()
        await asyncio.gather(*(line.close() for line in gone))

    def _is_served(self, line: Line) -> bool:
        worker = self._workers.get(line.worker.worker_id)
        return worker is not None and worker.http == line.http and worker.state in _ANSWERING


_ANSWERING = (WorkerState.READY, WorkerState.DRAINING)


def why_away(stream: Stream) -> str:
    """Why a stream has no results now, as a sentence."""
    if stream.state is StreamState.WAITING:
        return f"stream {stream.stream_id} waits for a worker: {stream.reason or 'not placed yet'}"
    return f"stream {stream.stream_id} is being started on another worker"

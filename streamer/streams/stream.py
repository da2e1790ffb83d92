"""One stream: connects its source, and reconnects it when it fails.

Knows no other stream, no tracker and no sink.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Any

from streamer.config.streams import StreamConfig
from streamer.errors import MaskletError, SourceError, SourceFailure
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.preparation import IN_RGB, Preparation
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.backoff import Backoff
from streamer.runtime.clock import Clock
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.runtime.redaction import redact
from streamer.runtime.threads import start_thread
from streamer.sources.base import Source
from streamer.sources.whip import reconnect_config
from streamer.streams.connection_state import ConnectionState, Failure
from streamer.streams.frame_gate import FrameGate
from streamer.streams.source_attempt import SourceAttempt
from streamer.types import Published, StreamState, StreamStatus

DETACH_TIMEOUT_S = 0.8
# A source ends a read itself at its deadline; one that is this late is blocked in its library.
_BLOCKED_AFTER_S = 0.5
_WATCH_INTERVAL_S = 0.25
_BLOCKED = (
    "sent no picture in time, and its read is blocked; does its host name resolve, and its file "
    "system answer?"
)
# Threads blocked in earlier attempts; while there are so many, no further one is started.
_MAX_BLOCKED_THREADS = 2
SOURCE_THREAD_PREFIX = "source-"
SETTINGS_CHANGED = "settings_changed"  # the ``reason`` of a restart with new settings
# A change of these settings keeps the connection.
_NOT_THE_SOURCE = {
    "max_rate_hz", "paused", "max_objects", "priority", "ground_plane", "objects", "reconnect",
    "starter", "smoothing",
}  # fmt: skip
MakeSource = Callable[[str, StreamConfig], Source]
_logger = logging.getLogger(__name__)


class Stream:
    """Supervises one source: connects, and reconnects after failures, until stopped.

    Each attempt (``SourceAttempt``) runs a new source in its own thread. A source that returns has
    reached the end of its media: the stream is ``ended`` until it is stopped. After one that
    raises, the next attempt follows a back-off. A source that is blocked in a read is abandoned
    when a picture is overdue, and after ``request_stop``, which ends ``run`` within a second: its
    thread is detached until the read returns, its frames are ignored, and the metric
    ``source_threads_detached`` counts it; a stream has at most two. ``change`` applies other
    settings while running; the source restarts if they affect it.
    """

    def __init__(
        self,
        stream_id: str,
        config: StreamConfig,
        *,
        make_source: MakeSource,
        slot: FrameSlot,
        counts: StreamCounts,
        publish: Callable[[Published], None],
        metrics: Metrics,
        clock: Clock,
        random: Random,
        preparation: Preparation = IN_RGB,
    ) -> None:
        """``preparation`` prepares frames for the tracker, in the source's thread."""
        self.stream_id = stream_id
        self._config = config
        self._make_source = make_source
        self._slot = slot
        self._counts = counts
        self._metrics = metrics
        self._clock = clock
        self._log = stream_logger(_logger, stream_id)
        self._random = random
        self._preparation = preparation
        self._backoff = Backoff(reconnect_config(config), random)
        self._interrupted = asyncio.Event()  # the present attempt or wait must end: stop, or change
        self._stopping = False
        self._stop_reason = ""
        self._blocked_threads = 0
        self._gate = FrameGate(config)
        self._connection = ConnectionState(
            stream_id,
            str(config.url),
            counts,
            self._gate,
            publish=publish,
            metrics=metrics,
            clock=clock,
        )

    @property
    def state(self) -> StreamState:
        """The state of the connection."""
        return self._connection.state

    def status(self) -> StreamStatus:
        """The stream's status at this time."""
        return self._connection.status()

    def request_stop(self, reason: str) -> None:
        """Make ``run`` end within a second, for ``reason``. Called on the event loop."""
        self._stop_reason = reason
        self._stopping = True
        self._interrupted.set()

    def change(self, config: StreamConfig) -> None:
        """Apply other, validated settings. Called on the event loop.

        A setting of the source ends the connection, or the rest after the end of media, and
        starts another at once; the others apply from the next frame on.
        """
        before, self._config = self._config, config
        self._gate.change(config)
        if reconnect_config(config) != reconnect_config(before):
            self._backoff = Backoff(reconnect_config(config), self._random)
        if config.paused != before.paused:
            self._log.info("paused" if config.paused else "resumed")
        if any(
            getattr(config, name) != getattr(before, name)
            for name in StreamConfig.model_fields
            if name not in _NOT_THE_SOURCE
        ):
            self._connection.connecting_to(str(config.url))
            self._interrupted.set()
        elif config != before:
            self._connection.publish()

    async def run(self) -> None:
        """Keep the source connected until stopped."""
        attempts = 0
        while not self._stopping:
            self._interrupted.clear()
            if attempts:
                self._metrics.stream_reconnects.labels(self.stream_id).inc()
            attempts += 1
            attempt = SourceAttempt(
                self._connection,
                self._gate,
                self._slot,
                self._counts,
                self._clock,
                self._preparation,
            )
            failure = await self._one_attempt(attempt)
            if not self._interrupted.is_set():
                await self._rest(attempt, failure)
            if self._interrupted.is_set() and not self._stopping:
                self._connection.went_down(StreamState.CONNECTING, SETTINGS_CHANGED)
        self._connection.went_down(StreamState.STOPPED, self._stop_reason)

    async def _rest(self, attempt: SourceAttempt, failure: Failure | None) -> None:
        """Wait until the next attempt is due; after the end of media, until interrupted."""
        if failure is None:
            self._connection.went_down(StreamState.ENDED, SourceFailure.ENDED, "end of media")
            await self._interrupted.wait()
            return
        delay_s = self._backoff.next_delay_s(attempt.delivered_for_s)
        self._connection.failed(failure, delay_s, was_live=attempt.delivered)
        await self._interrupted_within(delay_s)

    async def _one_attempt(self, attempt: SourceAttempt) -> Failure | None:
        if self._blocked_threads >= _MAX_BLOCKED_THREADS:
            return Failure(SourceFailure.TIMEOUT, "earlier attempts are still blocked in a read")
        try:
            source = self._make_source(self.stream_id, self._config)
        except MaskletError as error:
            return self._failure_of(error)
        self._connection.connecting_to(source.redacted_url)
        ended = start_thread(f"{SOURCE_THREAD_PREFIX}{self.stream_id}", lambda: attempt.run(source))
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        either: set[asyncio.Future[Any]] = {ended, interrupted}
        try:
            done: set[asyncio.Future[Any]] = set()
            while not done and not _is_blocked(source):
                done, _ = await asyncio.wait(
                    either, timeout=_WATCH_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            interrupted.cancel()
            attempt.stop.set()
        if not ended.done():
            await asyncio.wait({ended}, timeout=DETACH_TIMEOUT_S)
        if not ended.done():
            self._detach(attempt, ended)
            return Failure(SourceFailure.TIMEOUT, _BLOCKED)
        return self._failure_of(ended.exception())

    def _failure_of(self, error: BaseException | None) -> Failure | None:
        if error is None:
            return None
        if isinstance(error, MaskletError):
            reason = error.reason if isinstance(error, SourceError) else SourceFailure.INTERNAL
            detail = redact(str(error)).removeprefix(f"{self.stream_id}: ")
            return Failure(reason, detail)
        # An unexpected error in a source affects this stream only: it is logged in
        # full, and followed by another attempt like any other failure.
        self._log.error("the source failed with %s", type(error).__name__, exc_info=error)
        return Failure(SourceFailure.INTERNAL, redact(f"{type(error).__name__}: {error}"))

    def _detach(self, attempt: SourceAttempt, ended: asyncio.Future[None]) -> None:
        attempt.detached = True
        self._blocked_threads += 1
        self._metrics.source_threads_detached.inc()
        self._log.warning("the source is blocked in a read; detached until that returns")

        def thread_ended(future: asyncio.Future[None]) -> None:
            self._blocked_threads -= 1
            self._metrics.source_threads_detached.dec()
            if not future.cancelled():
                future.exception()  # retrieved, so that asyncio does not log it

        ended.add_done_callback(thread_ended)

    async def _interrupted_within(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._interrupted.wait()
        except TimeoutError:
            return


def _is_blocked(source: Source) -> bool:
    return source.deadline is not None and source.deadline.overdue_s > _BLOCKED_AFTER_S

"""One stream: keeps its source connected and puts its pictures into the slot.

Knows nothing of other streams, of the tracker or of sinks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from streamer.config.schema import StreamConfig
from streamer.errors import MaskletError, SourceError, SourceFailure
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.preparation import (
    IN_RGB,
    Preparation,
)
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.backoff import Backoff
from streamer.runtime.clock import Clock
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.runtime.rate_limit import RateLimit
from streamer.runtime.redaction import redact
from streamer.runtime.threads import start_thread
from streamer.sources.base import Source
from streamer.sources.whip import reconnect_config
from streamer.streams.source_attempt import SourceAttempt
from streamer.types import (
    EventKind,
    Published,
    StreamEvent,
    StreamState,
    StreamStatus,
)

DETACH_TIMEOUT_S = 0.8
SOURCE_THREAD_PREFIX = "source-"
SETTINGS_CHANGED = "settings_changed"  # why a stream is down that begins again with new settings
# What a change of these does not concern is the connection: it stays.
_NOT_THE_SOURCE = {
    "max_rate_hz", "paused", "max_objects", "priority", "ground_plane", "objects", "reconnect",
    "starter", "smoothing",
}  # fmt: skip
MakeSource = Callable[[str, StreamConfig], Source]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt ended: a ``SourceFailure`` and a message without secrets."""

    reason: SourceFailure
    detail: str


class Stream:
    """Supervises one source: connects, and connects again when it fails, until stopped.

    Each attempt runs a new source in a thread of its own. A source that returns has come to the
    end of its media: the stream rests as ``ended`` until it is stopped. One that raises is tried
    again, after a wait that grows. ``request_stop`` ends ``run`` within a second, even while the
    source is blocked in a read: the thread is then left to its own timeout, its pictures are
    refused, and the metric ``source_threads_detached`` counts it until it ends. ``change`` takes
    other settings while running; the source begins again if they concern it.
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
        """``preparation`` makes of a picture what the tracker wants, in the source's thread."""
        self.stream_id = stream_id
        self._config = config
        self._make_source = make_source
        self._slot = slot
        self._counts = counts
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._log = stream_logger(_logger, stream_id)
        self._random = random
        self._preparation = preparation
        self._backoff = Backoff(reconnect_config(config), random)
        self._interrupted = asyncio.Event()  # what runs or waits now is to end: stop, or change
        self._stopping = False
        self._stop_reason = ""
        # Replaced on the event loop, read in the source's thread at every picture.
        self.rate_limit = _rate_limit(config)
        self.resumed = threading.Event()
        if not config.paused:
            self.resumed.set()

        self._lock = threading.Lock()  # guards what follows: the source's thread writes it too
        self._state = StreamState.CONNECTING
        self._reason: str | None = None  # why it is not live
        self._detail: str | None = None
        self._session_id: str | None = None
        self._size = (0, 0)
        self._url = redact(config.url)
        self._connect_failures = 0

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._state

    def status(self) -> StreamStatus:
        """What the status topic says of this stream now."""
        with self._lock:
            return StreamStatus(
                stream_id=self.stream_id,
                state=self._state,
                time_ns=self._clock.unix_ns(),
                url=self._url,
                reason=self._reason,
                detail=self._detail,
                session_id=self._session_id,
                width=self._size[0],
                height=self._size[1],
                frames_decoded=self._counts.frames_decoded,
                frames_tracked=self._counts.frames_tracked,
                frames_dropped=self._counts.frames_dropped(),
                connect_failures=self._connect_failures,
                object_ids=self._counts.object_ids,
                paused=self._config.paused,
            )

    def request_stop(self, reason: str) -> None:
        """Let ``run`` end, within a second; ``reason`` is told. Called on the event loop."""
        self._stop_reason = reason
        self._stopping = True
        self._interrupted.set()

    def change(self, config: StreamConfig) -> None:
        """Go on with other settings, validated before. Called on the event loop.

        A setting of the source ends the connection, or the rest after the end of media, and
        begins another at once; the others apply from the next picture on.
        """
        before, self._config = self._config, config
        if config.max_rate_hz != before.max_rate_hz:
            self.rate_limit = _rate_limit(config)
        if reconnect_config(config) != reconnect_config(before):
            self._backoff = Backoff(reconnect_config(config), self._random)
        if config.paused:
            self.resumed.clear()
        else:
            self.resumed.set()
        if config.paused != before.paused:
            self._log.info("paused" if config.paused else "resumed")
        if any(
            getattr(config, name) != getattr(before, name)
            for name in StreamConfig.model_fields
            if name not in _NOT_THE_SOURCE
        ):
            with self._lock:
                self._url = redact(config.url)
            self._interrupted.set()
        elif config != before:
            self._publish(self.status())

    async def run(self) -> None:
        """Deliver pictures until stopped."""
        self._metrics.stream_up.labels(self.stream_id).set(0)
        attempts = 0
        while not self._stopping:
            self._interrupted.clear()
            if attempts:
                self._metrics.stream_reconnects.labels(self.stream_id).inc()
            attempts += 1
            attempt = SourceAttempt(self, self._slot, self._counts, self._clock, self._preparation)
            failure = await self._one_attempt(attempt)
            if not self._interrupted.is_set():
                await self._rest(attempt, failure)
            if self._interrupted.is_set() and not self._stopping:
                self._went_down(StreamState.CONNECTING, SETTINGS_CHANGED)
        self._went_down(StreamState.STOPPED, self._stop_reason)

    async def _rest(self, attempt: SourceAttempt, failure: _Failure | None) -> None:
        """Wait until the next attempt is due; after the end of media, until interrupted."""
        if failure is None:
            self._went_down(StreamState.ENDED, SourceFailure.ENDED, "end of media")
            await self._interrupted.wait()
            return
        delay_s = self._backoff.next_delay_s(attempt.delivered_for_s)
        self._failed(failure, delay_s)
        await self._interrupted_within(delay_s)

    async def _one_attempt(self, attempt: SourceAttempt) -> _Failure | None:
        try:
            source = self._make_source(self.stream_id, self._config)
        except MaskletError as error:
            return self._failure_of(error)
        with self._lock:
            self._url = redact(source.redacted_url)
        ended = start_thread(f"{SOURCE_THREAD_PREFIX}{self.stream_id}", lambda: attempt.run(source))
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        either: set[asyncio.Future[Any]] = {ended, interrupted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            interrupted.cancel()
            attempt.stop.set()
        if not ended.done():
            await asyncio.wait({ended}, timeout=DETACH_TIMEOUT_S)
        if not ended.done():
            self._detach(attempt, ended)
            return None
        return self._failure_of(ended.exception())

    def _failure_of(self, error: BaseException | None) -> _Failure | None:
        if error is None:
            return None
        if isinstance(error, MaskletError):
            reason = error.reason if isinstance(error, SourceError) else SourceFailure.INTERNAL
            detail = redact(str(error)).removeprefix(f"{self.stream_id}: ")
            return _Failure(reason, detail)
        # A mistake in a source, or in a library under it, is this stream's trouble only: it is
        # reported in full, and tried again like any other failure.
        self._log.error("the source failed with %s", type(error).__name__, exc_info=error)
        return _Failure(SourceFailure.INTERNAL, redact(f"{type(error).__name__}: {error}"))

    def _detach(self, attempt: SourceAttempt, ended: asyncio.Future[None]) -> None:
        attempt.detached = True
        self._metrics.source_threads_detached.inc()
        self._log.warning("the source is blocked in a read; left to its timeout")

        def attached_again(future: asyncio.Future[None]) -> None:
            self._metrics.source_threads_detached.dec()
            if not future.cancelled():
                future.exception()  # of no interest any more

        ended.add_done_callback(attached_again)

    async def _interrupted_within(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._interrupted.wait()
        except TimeoutError:
            return

    def went_live(self, session_id: str, size: tuple[int, int]) -> None:
        """The attempt's first picture came; called in the source's thread."""
        with self._lock:
            if self._state is StreamState.STOPPED:  # detached a moment ago
                return
            self._state = StreamState.LIVE
            self._reason = self._detail = None
            self._session_id = session_id
            self._size = size
        self._metrics.stream_up.labels(self.stream_id).set(1)
        self._log.info("live, %d×%d", *size)
        self._event(EventKind.STREAM_UP, detail=f"{size[0]}x{size[1]}")
        self._publish(self.status())

    def size_changed(self, size: tuple[int, int]) -> None:
        """The pictures have another size now; called in the source's thread."""
        with self._lock:
            self._size = size
        self._log.info("now %d×%d", *size)
        self._publish(self.status())

    def was_reset(self, reason: str) -> None:
        """Presentation times jumped; called in the source's thread."""
        self._metrics.pts_discontinuities.labels(self.stream_id).inc()
        self._log.info("timestamps restarted: %s", reason)
        self._event(EventKind.STREAM_RESET, reason=reason)

    def _failed(self, failure: _Failure, delay_s: float) -> None:
        self._metrics.stream_connect_failures.labels(self.stream_id, failure.reason).inc()
        self._log.warning("%s; reconnecting in %.1f s", failure.detail, delay_s)
        with self._lock:
            self._connect_failures += 1
            news = self._state is not StreamState.RETRYING or self._reason != failure.reason
        if news:
            self._went_down(StreamState.RETRYING, failure.reason, failure.detail)

    def _went_down(self, state: StreamState, reason: str, detail: str | None = None) -> None:
        with self._lock:
            was_told = self._state is StreamState.ENDED or (
                state is StreamState.CONNECTING and self._state is not StreamState.LIVE
            )
            self._state, self._reason, self._detail = state, reason, detail
        self._metrics.stream_up.labels(self.stream_id).set(0)
        if state is not StreamState.RETRYING:
            self._log.info("%s", state)
        if not was_told:
            self._event(EventKind.STREAM_DOWN, reason=reason, detail=detail)
        self._publish(self.status())

    def _event(self, kind: EventKind, reason: str | None = None, detail: str | None = None) -> None:
        self._publish(
            StreamEvent(
                stream_id=self.stream_id,
                kind=kind,
                time_ns=self._clock.unix_ns(),
                reason=reason,
                detail=detail,
            )
        )


def _rate_limit(config: StreamConfig) -> RateLimit | None:
    return RateLimit(config.max_rate_hz) if config.max_rate_hz else None

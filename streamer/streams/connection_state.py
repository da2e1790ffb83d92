"""The state of one stream's connection; each change is logged, counted and published."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from streamer.errors import SourceFailure
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import Clock
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.runtime.redaction import redact
from streamer.streams.frame_gate import FrameGate
from streamer.types import EventKind, Published, StreamEvent, StreamState, StreamStatus

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed: a ``SourceFailure`` and a message without secrets."""

    reason: SourceFailure
    detail: str


class ConnectionState:
    """Written by the stream on the event loop and by its source's thread; read by any thread."""

    def __init__(
        self,
        stream_id: str,
        url: str,
        counts: StreamCounts,
        gate: FrameGate,
        *,
        publish: Callable[[Published], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._stream_id = stream_id
        self._counts = counts
        self._gate = gate
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._log = stream_logger(_logger, stream_id)
        self._lock = threading.Lock()  # guards what follows
        self._state = StreamState.CONNECTING
        self._reason: str | None = None  # why it is not live
        self._detail: str | None = None
        self._session_id: str | None = None
        self._size = (0, 0)
        self._url = redact(url)
        self._connect_failures = 0
        metrics.stream_up.labels(stream_id).set(0)

    @property
    def state(self) -> StreamState:
        """The newest state."""
        return self._state

    def status(self) -> StreamStatus:
        """The stream's status at this time."""
        with self._lock:
            return StreamStatus(
                stream_id=self._stream_id,
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
                paused=self._gate.paused,
            )

    def publish(self) -> None:
        """Publish the status, after a change of settings."""
        self._publish(self.status())

    def connecting_to(self, url: str) -> None:
        """Record the address of the next attempt; credentials are removed."""
        with self._lock:
            self._url = redact(url)

    def went_live(self, session_id: str, size: tuple[int, int]) -> None:
        """Record an attempt's first frame; ``size`` is width, height."""
        with self._lock:
            if self._state is StreamState.STOPPED:  # the attempt was just detached
                return
            self._state = StreamState.LIVE
            self._reason = self._detail = None
            self._session_id = session_id
            self._size = size
        self._metrics.stream_up.labels(self._stream_id).set(1)
        self._log.info("live, %d×%d", *size)
        self._event(EventKind.STREAM_UP, detail=f"{size[0]}x{size[1]}")
        self.publish()

    def size_changed(self, size: tuple[int, int]) -> None:
        """Record that frames now have another width and height."""
        with self._lock:
            self._size = size
        self._log.info("now %d×%d", *size)
        self.publish()

    def times_restarted(self, reason: str) -> None:
        """Report that presentation times jumped or restarted."""
        self._metrics.pts_discontinuities.labels(self._stream_id).inc()
        self._log.info("timestamps restarted: %s", reason)
        self._event(EventKind.STREAM_RESET, reason=reason)

    def failed(self, failure: Failure, delay_s: float, *, was_live: bool) -> None:
        """Record an attempt that failed, or a live one that broke off; the next follows."""
        metric = self._metrics.stream_breaks if was_live else self._metrics.stream_connect_failures
        metric.labels(self._stream_id, failure.reason).inc()
        self._log.warning("%s; reconnecting in %.1f s", failure.detail, delay_s)
        with self._lock:
            self._connect_failures += not was_live
            is_new = self._state is not StreamState.RETRYING or self._reason != failure.reason
        if is_new:
            self.went_down(StreamState.RETRYING, failure.reason, failure.detail)

    def went_down(self, state: StreamState, reason: str, detail: str | None = None) -> None:
        """Record that the stream is in ``state``, which is not live, and why."""
        with self._lock:
            was_reported = self._state is StreamState.ENDED or (
                state is StreamState.CONNECTING and self._state is not StreamState.LIVE
            )
            self._state, self._reason, self._detail = state, reason, detail
        self._metrics.stream_up.labels(self._stream_id).set(0)
        if state is not StreamState.RETRYING:
            self._log.info("%s", state)
        if not was_reported:
            self._event(EventKind.STREAM_DOWN, reason=reason, detail=detail)
        self.publish()

    def _event(self, kind: EventKind, reason: str | None = None, detail: str | None = None) -> None:
        self._publish(
            StreamEvent(
                stream_id=self._stream_id,
                kind=kind,
                time_ns=self._clock.unix_ns(),
                reason=reason,
                detail=detail,
            )
        )

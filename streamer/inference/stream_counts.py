"""Counts the frames of one stream, for its status and for the metrics."""

from __future__ import annotations

import threading

from streamer.runtime.clock import ns_to_seconds
from streamer.runtime.metrics import Metrics
from streamer.types import DecodedFrame, DropReason

STAGE_OF_DROP = {
    DropReason.CORRUPT: "decode",
    DropReason.NO_KEYFRAME: "decode",
    DropReason.DECODE_ERROR: "decode",
    DropReason.BEHIND: "decode",
    DropReason.RATE_LIMIT: "slot",
    DropReason.PAUSED: "slot",
    DropReason.SUPERSEDED: "slot",
    DropReason.FAILED: "inference",
}
_LOST_IN_DECODING = {reason for reason, stage in STAGE_OF_DROP.items() if stage == "decode"}


class StreamCounts:
    """Counts decoded, dropped and tracked frames; each stage calls it from its own thread."""

    def __init__(self, stream_id: str, metrics: Metrics) -> None:
        self._stream_id = stream_id
        self._metrics = metrics
        self._lock = threading.Lock()
        self._decoded = 0
        self._tracked = 0
        self._dropped: dict[str, int] = {}
        self._object_ids: tuple[int, ...] = ()
        self._closed = False
        # Start at 0: a rate over a series that appears with its first event misses that event.
        for counter in (
            metrics.frames_received,
            metrics.frames_decoded,
            metrics.frames_tracked,
            metrics.stream_reconnects,
            metrics.pts_discontinuities,
        ):
            counter.labels(stream_id)

    def decoded(self, picture: DecodedFrame) -> None:
        """Count a frame that the source delivered."""
        with self._lock:
            if self._closed:
                return
            self._decoded += 1
            metrics, stream_id = self._metrics, self._stream_id
            metrics.frames_received.labels(stream_id).inc()
            metrics.frames_decoded.labels(stream_id).inc()
            metrics.stream_last_frame_timestamp_seconds.labels(stream_id).set(
                ns_to_seconds(picture.arrival_time_ns)
            )
        metrics.stage_duration_seconds.labels("decode").observe(
            ns_to_seconds(picture.decoded_monotonic_ns - picture.arrival_monotonic_ns)
        )

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Count lost frames."""
        with self._lock:
            if self._closed:
                return
            self._dropped[reason] = self._dropped.get(reason, 0) + count
            stage = STAGE_OF_DROP[reason]
            self._metrics.frames_dropped.labels(self._stream_id, stage, reason).inc(count)
            if reason in _LOST_IN_DECODING:
                self._metrics.frames_received.labels(self._stream_id).inc(count)

    def tracked(self, object_ids: tuple[int, ...]) -> None:
        """Count a tracked frame; ``object_ids`` are tracked now."""
        with self._lock:
            if self._closed:
                return
            self._tracked += 1
            self._object_ids = object_ids
            self._metrics.frames_tracked.labels(self._stream_id).inc()

    def follows(self, object_ids: tuple[int, ...]) -> None:
        """Record objects added or removed between two frames."""
        with self._lock:
            self._object_ids = object_ids

    def close(self) -> None:
        """Stop counting, and remove the series of a removed stream."""
        with self._lock:
            self._closed = True
            self._metrics.remove_stream(self._stream_id)

    @property
    def frames_decoded(self) -> int:
        """Frames that the source delivered."""
        return self._decoded

    @property
    def frames_tracked(self) -> int:
        """Tracked frames."""
        return self._tracked

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The tracked objects."""
        return self._object_ids

    def frames_dropped(self) -> dict[str, int]:
        """Lost frames by reason, a copy."""
        with self._lock:
            return dict(self._dropped)

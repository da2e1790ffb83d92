"""Limits the scheduler to what the device can do, and reports overload."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from streamer.inference.load.meter import WINDOW_NS, LoadMeter
from streamer.inference.load.overload import Overload, OverloadChange
from streamer.inference.scheduler import Scheduler
from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import Clock, ns_to_seconds, seconds_to_ns
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.types import EventKind, Published, StreamEvent

# ``reason`` of ``degraded`` events: overload begins, and ends.
OVERLOAD, OVERLOAD_ENDED = "overload", "overload_ended"
_logger = logging.getLogger(__name__)


class LoadControl:
    """Used by the inference thread only.

    Bound: the data of ``LoadMeter`` and ``Overload``, and a priority per stream.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        overload: Overload,
        *,
        set_image_size: Callable[[int], None],
        device: str,
        step_s: float,
        publish: Callable[[Published], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """If the policy shapes the load, batches are limited so that a step takes about
        ``step_s``: early results of a few streams are worth more than late ones of all. With eight
        streams at 25 ms a frame, results are 100 ms old instead of 200, at the same throughput. On
        a CPU, batches beyond two gain little (nano: 29, 24 and 24 ms of one core per frame with
        1, 2 and 4 frames). ``set_image_size`` is called between two steps.
        """
        self._scheduler = scheduler
        self._overload = overload
        self._set_image_size = set_image_size
        self._image_size = overload.image_size
        self._step_s = step_s
        self._publish = publish
        self._metrics = metrics
        self._load_ratio = metrics.load_ratio.labels(device)
        self._clock = clock
        self._priorities: dict[str, int] = {}
        self._meter = LoadMeter(clock.monotonic_ns())

    def prioritise(self, stream_id: str, priority: int) -> None:
        """Add a stream, or change its priority."""
        self._priorities[stream_id] = priority
        self._scheduler.prioritise(stream_id, priority)
        self._metrics.degraded.labels(stream_id).set(stream_id in self._overload.lowered)

    def forget(self, stream_id: str) -> None:
        """Remove a stream."""
        self._priorities.pop(stream_id, None)
        self._overload.forget(stream_id)
        self._meter.forget(stream_id)
        self._scheduler.forget(stream_id)

    def tracked(self, stream_id: str) -> None:
        """Count a tracked frame."""
        self._meter.tracked(stream_id)

    def rest(self, awake: threading.Event, wait_ns: int | None) -> None:
        """Wait for ``awake``, at most ``wait_ns``; under overload, no longer than one window."""
        if self._overload.active:
            wait_ns = WINDOW_NS if wait_ns is None else min(wait_ns, WINDOW_NS)
        began_ns = self._clock.monotonic_ns()
        self._clock.wait(awake, None if wait_ns is None else ns_to_seconds(wait_ns))
        self._meter.rested(self._clock.monotonic_ns() - began_ns)

    def spared(self, duration_ns: int) -> None:
        """Count idle time that was used for work without a deadline."""
        self._meter.rested(duration_ns)

    def look(self, streams: Mapping[str, TrackedStream]) -> None:
        """Once a second: check whether the device keeps up, and act on it."""
        now_ns = self._clock.monotonic_ns()
        if not self._meter.is_due(now_ns):
            return
        load = self._meter.window(
            now_ns,
            {stream_id: stream.slot.frames_put for stream_id, stream in streams.items()},
            self._priorities,
            frozenset(name for name, stream in streams.items() if stream.slot.lossless),
        )
        changes = self._overload.observe(load)
        if self._overload.frame_s is not None and self._overload.shapes:
            self._scheduler.limit_batch(int(self._step_s / self._overload.frame_s))
        self._follow_image_size()
        self._scheduler.limit_rates(self._overload.rates_hz)
        self._scheduler.starve_after(seconds_to_ns(1 / self._overload.floor_hz))
        self._load_ratio.set(self._overload.load_ratio)
        for change in changes:
            self._report(change)

    def _follow_image_size(self) -> None:
        image_size = self._overload.image_size
        if image_size is not None and image_size != self._image_size:
            self._set_image_size(image_size)
            self._image_size = image_size

    def _report(self, change: OverloadChange) -> None:
        log = stream_logger(_logger, change.stream_id)
        if change.is_lowered:
            log.warning("the device cannot keep up: %s", change.detail)
        else:
            log.info("the device keeps up again: %s", change.detail)
        self._metrics.degraded.labels(change.stream_id).set(change.is_lowered)
        self._publish(
            StreamEvent(
                stream_id=change.stream_id,
                kind=EventKind.DEGRADED,
                time_ns=self._clock.unix_ns(),
                reason=OVERLOAD if change.is_lowered else OVERLOAD_ENDED,
                detail=change.detail,
            )
        )

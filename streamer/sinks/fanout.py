"""From the live path to the sinks: one bounded queue and one task per sink."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from streamer.errors import MaskletError
from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.runtime.metrics import Metrics
from streamer.sinks.base import Sink
from streamer.types import FrameResult, Published, StreamEvent, StreamStatus

EVENTS_KEPT = 1024
_log = logging.getLogger(__name__)


class Fanout:
    """Gives every published item to every sink, each at its own pace.

    ``publish`` may be called from any thread and never blocks. A slow sink falls behind in its own
    queue only. A source that must lose nothing checks ``holds_frame_of`` first, and again after
    ``on_frame_taken``.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        metrics: Metrics,
        clock: Clock,
        on_frame_taken: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_frame_taken`` is called, on the event loop, when a sink took a frame."""
        self._metrics = metrics
        self._outlets = [_Outlet(sink, metrics, clock, on_frame_taken) for sink in sinks]

    def publish(self, item: Published) -> None:
        """Queue ``item`` for all sinks."""
        if isinstance(item, StreamEvent):
            self._metrics.track_events.labels(item.stream_id, item.kind).inc()
        for outlet in self._outlets:
            outlet.queue.put(item)

    def holds_frame_of(self, stream_id: str) -> bool:
        """Whether a further frame of this stream would push one out of some sink's queue."""
        return any(outlet.queue.holds_frame_of(stream_id) for outlet in self._outlets)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start one task per sink; the sinks are started already."""
        for outlet in self._outlets:
            outlet.start(tasks)

    async def drain(self, timeout_s: float) -> None:
        """Let every sink send its queue, then end its task; within ``timeout_s``."""
        for outlet in self._outlets:
            outlet.queue.close()
        await asyncio.gather(*(outlet.finished(timeout_s) for outlet in self._outlets))


class SinkQueue:
    """The queue of one sink, in order of publication.

    Bound and policy: of each stream's frames only the newest is kept, older ones are dropped;
    events and statuses are all kept up to ``EVENTS_KEPT``, then the oldest is dropped. Drops are
    counted by kind. Any thread puts; the event loop that called ``bind`` gets.
    """

    def __init__(self, sink_name: str, metrics: Metrics) -> None:
        self._dropped = metrics.sink_items_dropped
        self._sink_name = sink_name
        self._lock = threading.Lock()
        self._items: OrderedDict[int, Published] = OrderedDict()
        self._frame_keys: dict[str, int] = {}
        self._next_key = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._filled = asyncio.Event()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop that takes from this queue."""
        self._loop = loop
        self._filled.set()

    def put(self, item: Published) -> None:
        """Add an item, dropping others by the policy; does nothing once closed."""
        dropped: Published | None = None
        with self._lock:
            if self._closed:
                return
            key = self._next_key
            self._next_key += 1
            if isinstance(item, FrameResult):
                stream_id = item.frame.stream_id
                dropped = self._items.pop(self._frame_keys.get(stream_id, -1), None)
                self._frame_keys[stream_id] = key
            elif len(self._items) - len(self._frame_keys) >= EVENTS_KEPT:
                oldest = next(k for k, i in self._items.items() if not isinstance(i, FrameResult))
                dropped = self._items.pop(oldest)
            self._items[key] = item
        self._wake()
        if dropped is not None:
            self._dropped.labels(self._sink_name, kind_of(dropped)).inc()

    async def get(self) -> Published | None:
        """The oldest item, waiting for one; None when closed and empty."""
        while True:
            with self._lock:
                if self._items:
                    _, item = self._items.popitem(last=False)
                    if isinstance(item, FrameResult):
                        del self._frame_keys[item.frame.stream_id]
                    return item
                if self._closed:
                    return None
                self._filled.clear()
            await self._filled.wait()

    def holds_frame_of(self, stream_id: str) -> bool:
        """Whether a frame of this stream waits."""
        return stream_id in self._frame_keys

    def close(self) -> None:
        """Accept nothing more; queued items can still be taken."""
        with self._lock:
            self._closed = True
        self._wake()

    def __len__(self) -> int:
        return len(self._items)

    def _wake(self) -> None:
        if self._loop is not None and not self._filled.is_set():
            try:
                self._loop.call_soon_threadsafe(self._filled.set)
            except RuntimeError:  # the loop has ended: nothing takes any more
                self._closed = True


class _Outlet:
    """A sink, its queue, and the task between them."""

    def __init__(
        self, sink: Sink, metrics: Metrics, clock: Clock, on_frame_taken: Callable[[], None]
    ) -> None:
        self._on_frame_taken = on_frame_taken
        self.sink = sink
        self.queue = SinkQueue(sink.name, metrics)
        self._metrics = metrics
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self.queue.bind(asyncio.get_running_loop())
        self._task = tasks.create_task(self._run(), name=f"sink-{self.sink.name}")

    async def finished(self, timeout_s: float) -> None:
        if self._task is None:
            return
        _, unfinished = await asyncio.wait({self._task}, timeout=timeout_s)
        if unfinished:
            _log.warning(
                "sink %s: %d items were not sent within %.1f s of shutdown",
                self.sink.name,
                len(self.queue),
                timeout_s,
            )
            self._task.cancel()

    async def _run(self) -> None:
        while (item := await self.queue.get()) is not None:
            if isinstance(item, FrameResult):
                self._on_frame_taken()
            if self.sink.wants(item):
                await self._publish(item)

    async def _publish(self, item: Published) -> None:
        try:
            await self.sink.publish(item)
        except (MaskletError, OSError) as error:
            # One item is lost for this sink; a sink that cannot continue raises another error.
            self._metrics.sink_errors.labels(self.sink.name).inc()
            _log.warning("sink %s: %s not sent: %s", self.sink.name, kind_of(item), error)
            return
        if isinstance(item, FrameResult):
            picture = item.frame.picture
            publish_ns = self._clock.monotonic_ns() - item.tracked_monotonic_ns
            self._metrics.stage_duration_seconds.labels("publish").observe(
                ns_to_seconds(publish_ns)
            )
            self._metrics.capture_to_publish_seconds.labels(picture.clock_source).observe(
                max(0.0, ns_to_seconds(self._clock.unix_ns() - picture.capture_time_ns))
            )


def kind_of(item: Published) -> str:
    """The item's kind as a label: frame, event or status."""
    if isinstance(item, FrameResult):
        return "frame"
    return "status" if isinstance(item, StreamStatus) else "event"

"""The one thread that owns the tracker: gathers a batch, applies commands, steps, publishes."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import torch

from streamer.batch_step import BatchStep, StreamWork
from streamer.errors import BusyError, ControlError
from streamer.frame_slot import FrameSlot
from streamer.lifecycle import LifecycleRules, ObjectLifecycle
from streamer.metrics import Metrics
from streamer.past_prompts import PastPrompts
from streamer.prompts import PromptRequest
from streamer.recent_frames import RecentFrames
from streamer.scheduler import Scheduler, Wait
from streamer.stream_counts import StreamCounts
from streamer.timing import Clock, ns_to_seconds, seconds_to_ns
from streamer.tracked_stream import TrackedStream
from streamer.types import ObjectSummary, Published, RememberedObject
from tracker import Tracker
from tracker.errors import CapacityError, TrackerError

T = TypeVar("T")
COMMANDS_WAITING = 256
FASTEST_STREAM_HZ = 120  # how many frames a second of history may have, at most
SHUTDOWN = "shutdown"  # the ``reason`` when the daemon ends
_GAUGES_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Inference:
    """Runs the tracker for all streams.

    ``run`` is the thread. The other methods may be called from any thread; what they ask for
    is done by the thread, in their order, between two steps. Bound: ``COMMANDS_WAITING``
    commands wait; a further one raises ``BusyError``.
    """

    def __init__(
        self,
        tracker: Tracker,
        scheduler: Scheduler,
        *,
        publish: Callable[[Published], None],
        is_unpublished: Callable[[str], bool],
        live_streams: Callable[[], int],
        metrics: Metrics,
        clock: Clock,
        lifecycle: LifecycleRules,
        history_s: float,
        history_bytes: int,
        threads: int,
    ) -> None:
        """``threads`` is the number of CPU threads of a step; 0 leaves it to torch.

        Frames of the last ``history_s`` can be prompted, as far as they fit ``history_bytes`` a
        stream.

        ``is_unpublished`` says whether a stream's last result waits for some sink still: a
        lossless stream is not stepped before it was taken. ``wake`` tells when that changed.
        """
        self._tracker = tracker
        self._scheduler = scheduler
        self._publish = publish
        self._is_unpublished = is_unpublished
        self._live_streams = live_streams
        self._metrics = metrics
        self._clock = clock
        self._lifecycle = lifecycle
        self._history_ns = seconds_to_ns(history_s)
        self._history_frames = 1 + math.ceil(history_s * FASTEST_STREAM_HZ)
        self._history_bytes = history_bytes
        self._threads = threads
        self._streams: dict[str, TrackedStream] = {}
        self._batch_step = BatchStep(tracker, clock)
        self._past_prompts = PastPrompts(tracker, self._streams)
        self._commands: deque[Callable[[], None]] = deque()
        self._commands_lock = threading.Lock()
        self._awake = threading.Event()
        self._stopping = False
        self._gauges_due_ns = 0

    # Called from any thread.

    def wake(self) -> None:
        """Something has come: a frame into a slot, or a command."""
        self._awake.set()

    def stop(self) -> None:
        """Let ``run`` return after the step it is in."""
        self._stopping = True
        self._awake.set()

    def add_stream(
        self,
        slot: FrameSlot,
        counts: StreamCounts,
        max_objects: int,
        requests: Sequence[PromptRequest],
    ) -> Future[None]:
        """Track what comes through ``slot``, with ``requests`` waiting for their frames."""

        def add() -> None:
            stream = TrackedStream(
                self._tracker.open_session(
                    max_objects=max_objects,
                    history_frames=self._history_frames,
                    history_bytes=self._history_bytes,
                ),
                slot,
                counts,
                ObjectLifecycle(self._lifecycle),
                RecentFrames(self._history_ns),
                publish=self._publish,
                metrics=self._metrics,
                clock=self._clock,
            )
            self._streams[slot.stream_id] = stream
            for request in requests:
                stream.prompts.queue(request)

        return self._command(add)

    def remove_stream(self, stream_id: str, reason: str) -> Future[None]:
        """Remove a stream with its objects; unknown ones are gone already."""

        def remove() -> None:
            self._past_prompts.withdraw(
                lambda request: request.stream_id == stream_id,
                f"the stream was removed ({reason})",
            )
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                stream.close(reason)
                self._scheduler.forget(stream_id)

        return self._command(remove)

    def set_max_objects(self, stream_id: str, max_objects: int) -> Future[None]:
        """Let a stream follow more objects, or fewer: then no fewer than it follows now."""

        def change() -> None:
            stream = self._streams.get(stream_id)
            if stream is None:
                return
            followed = len(stream.session.object_ids)
            if max_objects < followed:
                raise CapacityError(
                    f"stream {stream_id} follows {followed} objects: max_objects {max_objects} is "
                    "too few; remove objects first"
                )
            stream.session.max_objects = max_objects

        return self._command(change)

    def remembered_objects(self, stream_id: str) -> Future[list[RememberedObject]]:
        """A stream's objects as they can be gone on with after a restart."""

        def export() -> list[RememberedObject]:
            stream = self._streams.get(stream_id)
            return [] if stream is None else stream.remembered()

        return self._command(export)

    def take_up(self, stream_id: str, remembered: RememberedObject) -> Future[None]:
        """Go on with an object of an earlier run, from the stream's next frame on."""

        def take_up() -> None:
            self._streams[stream_id].take_up(remembered)

        return self._command(take_up)

    def prompt(self, request: PromptRequest) -> None:
        """Apply a prompt on the frame it is for; ``request.outcome`` tells."""

        def queue() -> None:
            stream = self._streams.get(request.stream_id)
            if stream is None:
                request.rejected(f"there is no stream {request.stream_id!r}")
            elif request.is_for_past:
                self._past_prompts.queue(request)
            else:
                stream.prompts.queue(request)

        self._command(queue)

    def objects(self, stream_id: str) -> list[ObjectSummary]:
        """The objects of a stream as its newest frame had them; none for an unknown stream."""
        stream = self._streams.get(stream_id)
        return [] if stream is None else stream.objects()

    def rename_object(
        self, stream_id: str, object_id: int, label: str | None, colour: str | None
    ) -> Future[bool]:
        """Name or colour an object anew; the future says whether there was one."""

        def rename() -> bool:
            stream = self._streams.get(stream_id)
            return stream is not None and stream.rename(object_id, label, colour)

        return self._command(rename)

    def remove_object(self, stream_id: str, object_id: int) -> Future[bool]:
        """Stop following an object; the future says whether there was one."""

        def remove() -> bool:
            stream = self._streams.get(stream_id)
            withdrawn = self._past_prompts.withdraw(
                lambda request: (
                    (request.stream_id, request.prompt.object_id) == (stream_id, object_id)
                ),
                "the object was removed",
            )
            return (stream is not None and stream.remove(object_id)) or withdrawn

        return self._command(remove)

    def _command(self, action: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()

        def carry_out() -> None:
            if not done.set_running_or_notify_cancel():
                return  # who asked does not wait any more
            try:
                done.set_result(action())
            except TrackerError as error:
                done.set_exception(ControlError(str(error)))

        with self._commands_lock:
            if self._stopping:
                raise BusyError("the daemon is stopping")
            if len(self._commands) >= COMMANDS_WAITING:
                raise BusyError(
                    f"{COMMANDS_WAITING} commands wait for the tracker already; try again later"
                )
            self._commands.append(carry_out)
        self._awake.set()
        return done

    # Called by the thread itself.

    def run(self) -> None:
        """Track until ``stop``. An error that this thread cannot isolate is raised."""
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            while True:
                self._awake.clear()  # before anything is looked at: what comes later wakes again
                if self._stopping:
                    return
                self._carry_out_commands()
                if self._past_prompts.carry_out_next():
                    self._awake.set()  # more of them wait: do not wait for a frame
                self._set_gauges()
                self._next_batch()
        finally:
            with self._commands_lock:
                self._stopping = True
            self._carry_out_commands()
            self._past_prompts.withdraw(lambda _: True, f"the stream was removed ({SHUTDOWN})")
            for stream in self._streams.values():
                stream.close(SHUTDOWN)

    def _carry_out_commands(self) -> None:
        while True:
            with self._commands_lock:
                if not self._commands:
                    return
                command = self._commands.popleft()
            command()

    def _next_batch(self) -> None:
        waiting = {
            stream_id: since_ns
            for stream_id, stream in self._streams.items()
            if (since_ns := stream.slot.waiting_since_monotonic_ns) is not None
            and not (stream.slot.lossless and self._is_unpublished(stream_id))
        }
        decision = self._scheduler.decide(self._clock.monotonic_ns(), waiting, self._live_streams())
        if isinstance(decision, Wait):
            timeout_s = None if decision.wait_ns is None else ns_to_seconds(decision.wait_ns)
            self._clock.wait(self._awake, timeout_s)
            return
        work = []
        for stream_id in decision.stream_ids:
            stream = self._streams[stream_id]
            frame = stream.slot.take()
            if frame is not None:  # None: the slot was closed since it was looked at
                requests = stream.prompts.due(frame.index)
                work.append(StreamWork(stream, frame, requests, stream.session.object_ids))
        if work:
            self._metrics.batch_size.observe(len(work))
            self._batch_step.track(work)

    def _set_gauges(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._gauges_due_ns:
            return
        self._gauges_due_ns = now_ns + seconds_to_ns(_GAUGES_EVERY_S)
        self._metrics.memory_bank_bytes.set(self._tracker.memory_bank_bytes)
        self._metrics.history_bytes.set(
            sum(stream.session.history_bytes for stream in self._streams.values())
        )
        on_gpu = self._tracker.device.type == "cuda"
        allocated = torch.cuda.memory_allocated(self._tracker.device) if on_gpu else 0
        reserved = torch.cuda.memory_reserved(self._tracker.device) if on_gpu else 0
        self._metrics.gpu_memory_bytes.labels("allocated").set(allocated)
        self._metrics.gpu_memory_bytes.labels("reserved").set(reserved)

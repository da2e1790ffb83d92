"""The inference thread: it owns the tracker and runs the live loop (``run``).

other threads ──► CommandQueue ─┐
sources ──► FrameSlots ─────────┼─► run: schedule, step, publish ──► fan-out
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress

import torch

from streamer.inference.batch_step import BatchStep, StreamWork
from streamer.inference.command_queue import CommandQueue
from streamer.inference.commands import InferenceCommands
from streamer.inference.gauges import InferenceGauges
from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.load.control import LoadControl
from streamer.inference.load.overload import Overload
from streamer.inference.retroactive_prompts import RetroactivePrompts
from streamer.inference.scheduler import Scheduler, Wait
from streamer.inference.segment_searches import SegmentSearches
from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import Clock, seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.types import Published
from tracker import Tracker

SHUTDOWN = "shutdown"  # the ``reason`` when the daemon ends
# Between two rare calls of the warm-up while the device is busy: each delays a step by about 0.1 s.
_WARM_EVERY_S = 0.25
_REMOVED = f"the stream was removed ({SHUTDOWN})"


class Inference:
    """Runs the tracker for all streams.

    ``run`` is the thread; ``commands`` is how other threads reach its streams. ``warmed_up``
    completes once the tracker is ready for its first frame.
    """

    def __init__(
        self,
        tracker: Tracker,
        scheduler: Scheduler,
        overload: Overload,
        *,
        device_name: str,
        step_s: float,
        publish: Callable[[Published], None],
        is_unpublished: Callable[[str], bool],
        live_streams: Callable[[Collection[str]], int],
        metrics: Metrics,
        clock: Clock,
        lifecycle: LifecycleRules,
        history_s: float,
        history_bytes: int,
        threads: int,
        warm_up_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """``threads`` is the number of CPU threads of a step; 0 leaves it to torch. Batches are
        limited to steps of about ``step_s``. ``live_streams`` returns how many of the given streams
        deliver frames. ``device_name``: see ``Device``. ``warm_up_progress`` is called in the
        thread, with the steps done and the steps in all.

        ``is_unpublished`` returns whether a stream's last result still waits for a sink: a
        lossless stream is not stepped before that result was accepted. Call ``wake`` when that
        changes.
        """
        self._tracker = tracker
        self._scheduler = scheduler
        self._is_unpublished = is_unpublished
        self._live_streams = live_streams
        self._metrics = metrics
        self._clock = clock
        self._threads = threads
        self._warm_up_progress = warm_up_progress
        self._awake = threading.Event()
        self._stopping = False
        self._warm_due_ns = 0
        self._streams: dict[str, TrackedStream] = {}
        self._queue = CommandQueue(on_added=self.wake)
        self._retroactive = RetroactivePrompts(tracker, self._streams)
        self._searches = SegmentSearches(tracker, self._streams, clock)
        self._batch_step = BatchStep(tracker, clock)
        self._gauges = InferenceGauges(tracker, device_name, metrics, clock)
        self._load = LoadControl(
            scheduler,
            overload,
            set_image_size=tracker.set_image_size,
            device=device_name,
            step_s=step_s,
            publish=publish,
            metrics=metrics,
            clock=clock,
        )
        self.commands = InferenceCommands(
            tracker,
            self._queue,
            self._streams,
            self._retroactive,
            self._searches,
            self._load,
            wake=self.wake,
            publish=publish,
            metrics=metrics,
            clock=clock,
            lifecycle=lifecycle,
            history_s=history_s,
            history_bytes=history_bytes,
        )
        self.warmed_up: Future[None] = Future()

    def wake(self) -> None:
        """Wake the thread: a slot was filled, a command was queued, or a result was accepted."""
        self._awake.set()

    def stop(self) -> None:
        """Make ``run`` return after its current step. May be called from any thread."""
        self._stopping = True
        self._queue.refuse()
        self.wake()

    def run(self) -> None:
        """Track until ``stop``. An error that cannot be confined to one stream is raised."""
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            self._warm_up()
            while True:
                self._awake.clear()  # before any check: whatever comes later sets it again
                if self._stopping:
                    self._batch_step.finish()
                    return
                self._carry_out_commands()
                self._gauges.set(self._streams.values())
                self._load.look(self._streams)
                scheduled = self._schedule()
                if isinstance(scheduled, Wait):
                    # Publishing takes time: look at the slots again before resting.
                    if not self._batch_step.finish() and not self._use_idle_time():
                        self._load.rest(self._awake, scheduled.wait_ns)
                elif scheduled:
                    # Step these frames; publish the step before, while the device is busy.
                    self._batch_step.track(scheduled)
                    self._searches.advance(idle=False)
                    if self._clock.monotonic_ns() >= self._warm_due_ns:
                        self._warm_next()
        finally:
            self._close()

    def _carry_out_commands(self) -> None:
        """A command expects the streams as every step so far left them."""
        self._queue.carry_out_all(before_each=self._batch_step.finish)
        if self._retroactive:
            self._batch_step.finish()
        if self._retroactive.carry_out_next():
            self.wake()  # more of them wait: do not rest before they are done

    def _use_idle_time(self) -> bool:
        """Make a pass of a search or a rare call of the warm-up; for the load it counts as idle."""
        began_ns = self._clock.monotonic_ns()
        used = self._searches.advance(idle=True) or self._warm_next()
        if used:
            self._load.spared(self._clock.monotonic_ns() - began_ns)
        return used

    def _warm_next(self) -> bool:
        made = self._tracker.warm_next()
        self._warm_due_ns = self._clock.monotonic_ns() + seconds_to_ns(_WARM_EVERY_S)
        return made

    def _schedule(self) -> list[StreamWork] | Wait:
        """Take the frames of the next step out of their slots."""
        waiting = {
            stream_id: since_ns
            for stream_id, stream in self._streams.items()
            if (since_ns := stream.slot.waiting_since_monotonic_ns) is not None
            and not (stream.slot.lossless and self._holds_result(stream_id))
        }
        decision = self._scheduler.decide(
            self._clock.monotonic_ns(), waiting, self._live_streams(self._streams)
        )
        if isinstance(decision, Wait):
            return decision
        work = []
        for stream_id in decision.stream_ids:
            stream = self._streams[stream_id]
            frame = stream.slot.take()
            if frame is not None:  # None: the slot was closed in the meantime
                stream.about_to_track(frame)
                requests = stream.prompts.due(frame.index)
                work.append(StreamWork(stream, frame, requests, stream.session.object_ids))
                self._load.tracked(stream_id)
        if work:
            self._metrics.batch_size.observe(len(work))
        return work

    def _holds_result(self, stream_id: str) -> bool:
        """Whether a result of a stream is not out yet: a further one would replace it."""
        return self._batch_step.is_tracking(stream_id) or self._is_unpublished(stream_id)

    def _warm_up(self) -> None:
        def progress(done: int, steps: int) -> None:
            if self._stopping:
                raise _StoppedEarlyError
            if self._warm_up_progress is not None:
                self._warm_up_progress(done, steps)

        with suppress(_StoppedEarlyError):
            self._tracker.warm_up(progress)
        self.warmed_up.set_result(None)

    def _close(self) -> None:
        self._stopping = True
        self._batch_step.withdraw(_REMOVED)
        self._queue.close()
        self._retroactive.withdraw(lambda _: True, _REMOVED)
        self._searches.withdraw(lambda _: True, _REMOVED)
        for stream in self._streams.values():
            stream.close(SHUTDOWN)


class _StoppedEarlyError(Exception):
    """The daemon stops before the tracker is ready."""

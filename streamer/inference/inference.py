"""The one thread that owns the tracker: gathers a batch, applies commands, steps, publishes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import torch

from streamer.inference.batch_step import (
    BatchStep,
    StreamWork,
)
from streamer.inference.commands import InferenceCommands
from streamer.inference.gauges import InferenceGauges
from streamer.inference.lifecycle import LifecycleRules
from streamer.inference.load.control import LoadControl
from streamer.inference.load.overload import Overload
from streamer.inference.scheduler import (
    Scheduler,
    Wait,
)
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.types import Published
from tracker import Tracker

SHUTDOWN = "shutdown"  # the ``reason`` when the daemon ends


class Inference(InferenceCommands):
    """Runs the tracker for all streams.

    ``run`` is the thread; what the other methods ask for is done by it. ``warmed_up`` is done
    once the tracker is ready for its first frame.
    """

    def __init__(
        self,
        tracker: Tracker,
        scheduler: Scheduler,
        overload: Overload,
        *,
        step_s: float,
        publish: Callable[[Published], None],
        is_unpublished: Callable[[str], bool],
        live_streams: Callable[[], int],
        metrics: Metrics,
        clock: Clock,
        lifecycle: LifecycleRules,
        history_s: float,
        history_bytes: int,
        threads: int,
        warm_up_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """``threads`` is the number of CPU threads of a step; 0 leaves it to torch. Batches are
        cut to steps of about ``step_s``. ``warm_up_progress`` is told, in the thread, the steps
        done and the steps in all.

        ``is_unpublished`` says whether a stream's last result waits for some sink still: a
        lossless stream is not stepped before it was taken. ``wake`` tells when that changed.
        """
        load = LoadControl(
            scheduler,
            overload,
            set_image_size=tracker.set_image_size,
            step_s=step_s,
            publish=publish,
            metrics=metrics,
            clock=clock,
        )
        super().__init__(
            tracker,
            load,
            publish=publish,
            metrics=metrics,
            clock=clock,
            lifecycle=lifecycle,
            history_s=history_s,
            history_bytes=history_bytes,
        )
        self._scheduler = scheduler
        self._is_unpublished = is_unpublished
        self._live_streams = live_streams
        self._threads = threads
        self._batch_step = BatchStep(tracker, clock)
        self._gauges = InferenceGauges(tracker, metrics, clock)
        self._warm_up_progress = warm_up_progress
        self.warmed_up: Future[None] = Future()
        self._stopping = False

    def stop(self) -> None:
        """Let ``run`` return after the step it is in. May be called from any thread."""
        self._stopping = True
        self._commands.refuse()
        self._awake.set()

    def run(self) -> None:
        """Track until ``stop``. An error that this thread cannot isolate is raised."""
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            self._warm_up()
            while True:
                self._awake.clear()  # before anything is looked at: what comes later wakes again
                if self._stopping:
                    self._batch_step.finish()
                    return
                # Who asks for something means the streams as they are after every step so far.
                self._commands.carry_out_all(before_each=self._batch_step.finish)
                if self._retroactive:
                    self._batch_step.finish()
                if self._retroactive.carry_out_next():
                    self._awake.set()  # more of them wait: do not wait for a frame
                self._gauges.set(self._streams.values())
                self._load.look(self._streams)
                self._next_batch()
        finally:
            self._stopping = True
            self._batch_step.withdraw(f"the stream was removed ({SHUTDOWN})")
            self._commands.close()
            self._retroactive.withdraw(lambda _: True, f"the stream was removed ({SHUTDOWN})")
            for stream in self._streams.values():
                stream.close(SHUTDOWN)

    def _warm_up(self) -> None:
        def progress(done: int, steps: int) -> None:
            if self._stopping:
                raise _StoppedEarlyError
            if self._warm_up_progress is not None:
                self._warm_up_progress(done, steps)

        with suppress(_StoppedEarlyError):
            self._tracker.warm_up(progress)
        self.warmed_up.set_result(None)

    def _next_batch(self) -> None:
        waiting = {
            stream_id: since_ns
            for stream_id, stream in self._streams.items()
            if (since_ns := stream.slot.waiting_since_monotonic_ns) is not None
            and not (stream.slot.lossless and self._holds_result(stream_id))
        }
        decision = self._scheduler.decide(self._clock.monotonic_ns(), waiting, self._live_streams())
        if isinstance(decision, Wait):
            if self._batch_step.finish():
                return  # that took its time: look again at what waits
            self._load.rest(self._awake, decision.wait_ns)
            return
        work = []
        for stream_id in decision.stream_ids:
            stream = self._streams[stream_id]
            frame = stream.slot.take()
            if frame is not None:  # None: the slot was closed since it was looked at
                stream.about_to_track(frame)
                requests = stream.prompts.due(frame.index)
                work.append(StreamWork(stream, frame, requests, stream.session.object_ids))
                self._load.tracked(stream_id)
        if work:
            self._metrics.batch_size.observe(len(work))
            self._batch_step.track(work)

    def _holds_result(self, stream_id: str) -> bool:
        """Whether a result of a stream is not out yet: a further one would take its place."""
        return self._batch_step.is_tracking(stream_id) or self._is_unpublished(stream_id)


class _StoppedEarlyError(Exception):
    """The daemon is to end before the tracker was ready."""

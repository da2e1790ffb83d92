"""Steps of the tracker for batches of frames, so that one stream's failure stays its own.

Where the tracker works beside the host (``Tracker.overlaps``), a step's results are read and
published while the device runs the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamer.inference.prompts.request import PromptRequest
from streamer.inference.step_result import StepResult
from streamer.inference.tracked_stream import STEP_ERRORS, TrackedStream
from streamer.runtime.clock import Clock
from streamer.types import Frame
from tracker import PendingStep, Tracker
from tracker.engine.out_of_memory import is_device_lost
from tracker.errors import CapacityError, PromptError


@dataclass(frozen=True, slots=True)
class StreamWork:
    """One stream's part of a batch."""

    stream: TrackedStream
    frame: Frame
    requests: list[PromptRequest]
    known_objects: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """A submitted step and what it was submitted for."""

    work: Sequence[StreamWork]
    pending: PendingStep
    started_ns: int


class BatchStep:
    """Steps the tracker and passes each stream its result; used by the inference thread.

    The tracker holds the steps in flight; of these, ``_newest`` is the one whose results were
    not collected yet. Results of a stream are published in the order of its frames.
    """

    def __init__(self, tracker: Tracker, clock: Clock) -> None:
        self._tracker = tracker
        self._clock = clock
        self._newest: _Step | None = None

    def is_tracking(self, stream_id: str) -> bool:
        """Whether a frame of this stream is in flight: its result was not published yet."""
        step = self._newest
        return step is not None and any(each.stream.stream_id == stream_id for each in step.work)

    def track(self, work: Sequence[StreamWork]) -> None:
        """Step all streams at once; if that fails, each alone, so that one cannot hurt others.

        Also publishes the step before. This one is published by the next ``track`` or by
        ``finish``; at once where the tracker gains nothing from waiting.
        """
        if any(each.requests for each in work):
            self.finish()  # a prompt's meaning depends on its object's state after that step
        try:
            step = self._submit(work)
        except STEP_ERRORS as error:
            _raise_if_device_is_lost(error)
            self.finish()  # it comes first, and may be what failed
            self._track_each_alone(work)
            return
        before, self._newest = self._newest, step
        if before is not None:
            self._collect(before)
        if not self._tracker.overlaps:
            self.finish()

    def finish(self) -> bool:
        """Wait for the step in flight and publish it; False if there was none."""
        step, self._newest = self._newest, None
        if step is not None:
            self._collect(step)
        return step is not None

    def withdraw(self, reason: str) -> None:
        """Give up the step in flight and reject its prompts, without waiting for the device."""
        step, self._newest = self._newest, None
        if step is not None:
            step.pending.withdraw()
            for each in step.work:
                for request in each.requests:
                    each.stream.reject(request, reason)

    def _submit(self, work: Sequence[StreamWork]) -> _Step:
        started_ns = self._clock.monotonic_ns()
        batch = [
            (
                each.stream.session,
                each.frame.prepared or each.frame.picture.pixels.for_tracker(),
                [request.prompt for request in each.requests],
            )
            for each in work
        ]
        return _Step(work, self._tracker.submit(batch), started_ns)

    def _collect(self, step: _Step) -> None:
        """Wait for a step and publish it. If it failed, step each of its streams alone."""
        try:
            tracks_per_stream = step.pending.collect()
        except BaseException as error:
            later, self._newest = self._newest, None
            if later is None and isinstance(error, STEP_ERRORS) and not is_device_lost(error):
                self._track_each_alone(step.work)
                return
            # The device is lost, or the later step was built on one that failed, which the
            # tracker rules out: the daemon ends, and ``withdraw`` rejects the prompts.
            if later is not None:
                later.pending.withdraw()
            self._newest = step
            raise
        tracked_ns = self._clock.monotonic_ns()
        pending = step.pending
        for each, tracks, index, facts in zip(
            step.work, tracks_per_stream, pending.frame_indexes, pending.facts, strict=True
        ):
            result = StepResult(tracks, index, facts, step.started_ns, tracked_ns)
            each.stream.tracked(each.frame, result, each.requests)

    def _track_each_alone(self, work: Sequence[StreamWork]) -> None:
        for each in work:
            self._track_alone(each)

    def _track_alone(self, work: StreamWork) -> None:
        """Step one stream. A refused prompt changed nothing: step the frame without it.

        Which of several prompts was refused is found by halving; those postponed by the search
        are applied on the next frames.
        """
        stream, requests = work.stream, work.requests
        started_ns = self._clock.monotonic_ns()
        while True:
            try:
                pending = self._submit([replace(work, requests=requests)]).pending
                (tracks,) = pending.collect()
            except (PromptError, CapacityError) as error:
                if not requests:
                    stream.failed(work.frame, error, work.known_objects)
                    return
                if len(requests) == 1:
                    stream.reject(requests[0], str(error))
                half = len(requests) // 2
                stream.prompts.put_back(requests[half:] if half else ())
                requests = requests[:half]
            except STEP_ERRORS as error:
                _raise_if_device_is_lost(error)
                stream.failed(work.frame, error, work.known_objects)
                for request in requests:
                    stream.reject(request, f"the step failed: {error}")
                return
            else:
                tracked_ns = self._clock.monotonic_ns()
                (index,), (facts,) = pending.frame_indexes, pending.facts
                result = StepResult(tracks, index, facts, started_ns, tracked_ns)
                stream.tracked(work.frame, result, requests)
                return


def _raise_if_device_is_lost(error: BaseException) -> None:
    if is_device_lost(error):
        raise error

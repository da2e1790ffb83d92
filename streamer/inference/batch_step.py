"""Steps of the tracker for batches of frames, so that no stream is hurt by another's.

Where the tracker works beside the host (``Tracker.overlaps``), a step's results are read and told
while the device is at the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from streamer.inference.prompts.request import PromptRequest
from streamer.inference.step_result import StepResult
from streamer.inference.tracked_stream import (
    STEP_ERRORS,
    TrackedStream,
)
from streamer.runtime.clock import Clock
from streamer.types import Frame
from tracker import PendingStep, Tracker
from tracker.errors import CapacityError, PromptError


@dataclass(frozen=True, slots=True)
class StreamWork:
    """One stream's part of a batch."""

    stream: TrackedStream
    frame: Frame
    requests: list[PromptRequest]
    known_objects: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _OnItsWay:
    work: list[StreamWork]
    pending: PendingStep
    started_ns: int


class BatchStep:
    """Steps the tracker and tells each stream what came of it; used by the inference thread.

    Bound: one step is on its way when another is submitted, and is told before ``track`` returns.
    Results of a stream are told in the order of its frames.
    """

    def __init__(self, tracker: Tracker, clock: Clock) -> None:
        self._tracker = tracker
        self._clock = clock
        self._on_their_way: deque[_OnItsWay] = deque()

    def is_tracking(self, stream_id: str) -> bool:
        """Whether a frame of this stream is on its way: its result was not told yet."""
        return any(
            each.stream.stream_id == stream_id for step in self._on_their_way for each in step.work
        )

    def track(self, work: list[StreamWork]) -> None:
        """Step all streams at once; if that fails, each alone, so that one cannot hurt others.

        What the step before found is told here too, and what this one finds where the tracker
        has nothing to gain from waiting; else by the next ``track``, or by ``finish``.
        """
        if any(each.requests for each in work):
            self.finish()  # what a prompt means depends on what its object has become
        started_ns = self._clock.monotonic_ns()
        try:
            pending = self._submit(work)
        except torch.AcceleratorError:
            raise  # the device is gone for this process
        except STEP_ERRORS:
            self.finish()  # it comes first, and may be what failed
            self._track_each_alone(work)
            return
        self._on_their_way.append(_OnItsWay(work, pending, started_ns))
        while len(self._on_their_way) > (1 if self._tracker.overlaps else 0):
            self._tell_oldest()

    def finish(self) -> bool:
        """Wait for what is on its way, and tell what came of it; whether there was anything."""
        found = bool(self._on_their_way)
        while self._on_their_way:
            self._tell_oldest()
        return found

    def withdraw(self, reason: str) -> None:
        """Give up what is on its way, and reject its prompts. The device is not asked."""
        while self._on_their_way:
            step = self._on_their_way.popleft()
            step.pending.withdraw()
            for each in step.work:
                for request in each.requests:
                    each.stream.reject(request, reason)

    def _tell_oldest(self) -> None:
        step = self._on_their_way[0]
        try:
            tracks_per_stream = step.pending.collect()
        except torch.AcceleratorError:
            raise
        except STEP_ERRORS:
            if len(self._on_their_way) > 1:
                # The next step was built on this one: what fails now is a mistake of ours.
                raise
            self._on_their_way.clear()
            self._track_each_alone(step.work)
            return
        tracked_ns = self._clock.monotonic_ns()
        self._on_their_way.popleft()
        for each, tracks, index, facts in zip(
            step.work,
            tracks_per_stream,
            step.pending.frame_indexes,
            step.pending.facts,
            strict=True,
        ):
            result = StepResult(tracks, index, facts, step.started_ns, tracked_ns)
            each.stream.tracked(each.frame, result, each.requests)

    def _track_each_alone(self, work: Sequence[StreamWork]) -> None:
        for each in work:
            self._track_alone(each)

    def _track_alone(self, work: StreamWork) -> None:
        """Step one stream. A refused prompt changed nothing: go on without it.

        Which one of several was refused is found by halving; those that are put off in the
        search are applied on the frames that follow.
        """
        stream, requests = work.stream, work.requests
        started_ns = self._clock.monotonic_ns()
        while True:
            try:
                pending = self._submit([replace(work, requests=requests)])
                (tracks,) = pending.collect()
            except torch.AcceleratorError:
                raise
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

    def _submit(self, work: Sequence[StreamWork]) -> PendingStep:
        return self._tracker.submit(
            [
                (
                    each.stream.session,
                    each.frame.prepared or each.frame.picture.pixels.for_tracker(),
                    [request.prompt for request in each.requests],
                )
                for each in work
            ]
        )

"""One step of the tracker for a batch of frames, so that no stream is hurt by another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from streamer.prompts import PromptRequest
from streamer.timing import Clock
from streamer.tracked_stream import STEP_ERRORS, TrackedStream
from streamer.types import Frame
from tracker import Tracker
from tracker.errors import CapacityError, PromptError
from tracker.types import Track


@dataclass(frozen=True, slots=True)
class StreamWork:
    """One stream's part of a batch."""

    stream: TrackedStream
    frame: Frame
    requests: list[PromptRequest]
    known_objects: tuple[int, ...]


class BatchStep:
    """Steps the tracker and tells each stream what came of it; used by the inference thread."""

    def __init__(self, tracker: Tracker, clock: Clock) -> None:
        self._tracker = tracker
        self._clock = clock

    def track(self, work: list[StreamWork]) -> None:
        """Step all streams at once; if that fails, each alone, so that one cannot hurt others."""
        started_ns = self._clock.monotonic_ns()
        try:
            tracks_per_stream = self._step(work)
        except torch.AcceleratorError:
            raise  # the device is gone for this process
        except STEP_ERRORS:
            for each in work:
                self._track_alone(each)
            return
        tracked_ns = self._clock.monotonic_ns()
        for each, tracks in zip(work, tracks_per_stream, strict=True):
            each.stream.tracked(each.frame, tracks, each.requests, started_ns, tracked_ns)

    def _track_alone(self, work: StreamWork) -> None:
        """Step one stream. A refused prompt changed nothing: go on without it.

        Which one of several was refused is found by halving; those that are put off in the
        search are applied on the frames that follow.
        """
        stream, requests = work.stream, work.requests
        started_ns = self._clock.monotonic_ns()
        while True:
            try:
                (tracks,) = self._step([replace(work, requests=requests)])
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
                stream.tracked(work.frame, tracks, requests, started_ns, tracked_ns)
                return

    def _step(self, work: Sequence[StreamWork]) -> list[list[Track]]:
        return self._tracker.step(
            [
                (
                    each.stream.session,
                    each.frame.prepared or each.frame.picture.to_track,
                    [request.prompt for request in each.requests],
                )
                for each in work
            ]
        )

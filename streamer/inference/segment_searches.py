"""Finds everything on a frame of a stream, in short passes between the steps of the tracker.

The inference thread does it, since it owns the model; a second thread would contend with the steps
for cores and device. One pass takes about ``PASS_S``, or a third of the step before it where that
is longer: by so much a search can delay a frame that arrives meanwhile.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from streamer.errors import BusyError, ControlError, RateError
from streamer.inference.prompts.recent_frames import Holder
from streamer.inference.tracked_stream import STEP_ERRORS, TrackedStream
from streamer.runtime.clock import Clock, seconds_to_ns
from streamer.types import FrameReference
from tracker import GeneratorOptions, PictureOptions, Tracker
from tracker.engine.out_of_memory import is_device_lost

if TYPE_CHECKING:
    from tracker import Segment
    from tracker.model import ImageFeatures
    from tracker.pictures.mask_generator import Search

PASS_S = 0.01
MOST_SEARCHES = 8
_MOST_POINTS = 64  # of a pass
# While frames always wait, passes get a quarter of the time at most: a search still ends.
_BUSY_SHARE = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FrameSegments:
    """Everything found on one frame, which can be prompted for half a minute from then on."""

    frame_index: int
    session_id: str
    height: int
    width: int
    segments: list[Segment]


@dataclass(slots=True, eq=False)
class SegmentRequest:
    """A search that was asked for; ``outcome`` completes in the inference thread.

    Cancelled, the search ends before its next pass.
    """

    stream_id: str
    options: GeneratorOptions
    reference: FrameReference | None = None
    outcome: Future[FrameSegments] = field(default_factory=Future)

    def refuse(self, error: Exception) -> None:
        """Report why there is no result, unless nothing waits for one."""
        if self.outcome.set_running_or_notify_cancel():
            self.outcome.set_exception(error)

    def found(self, segments: FrameSegments) -> None:
        """Report the result, unless nothing waits for it."""
        if self.outcome.set_running_or_notify_cancel():
            self.outcome.set_result(segments)


@dataclass(slots=True, eq=False)
class _Running:
    request: SegmentRequest
    frame: FrameReference
    search: Search
    found: Callable[[list[Segment]], FrameSegments]


def load_generator() -> None:
    """Import what a search needs, which takes a second: not in the inference thread."""
    import_module("tracker.pictures.mask_generator")


class SegmentSearches:
    """Used by the inference thread only.

    Bound: one search of a stream, and ``MOST_SEARCHES`` in all; policy: a further one is refused
    as busy. Between two passes a search holds its frame, anew with each, and the masks found so
    far, as runs.
    """

    def __init__(
        self, tracker: Tracker, streams: Mapping[str, TrackedStream], clock: Clock
    ) -> None:
        self._tracker = tracker
        self._streams = streams
        self._clock = clock
        self._running: deque[_Running] = deque()
        self._points = 1
        self._next_ns = 0
        self._ended_ns = 0

    def begin(self, request: SegmentRequest) -> None:
        """Start a search on its frame, by default the newest, or refuse it through its outcome."""
        stream = self._streams.get(request.stream_id)
        self._running = deque(
            each for each in self._running if not each.request.outcome.cancelled()
        )
        try:
            if stream is None:
                raise ControlError(f"there is no stream {request.stream_id!r}")
            if any(each.request.stream_id == request.stream_id for each in self._running):
                raise RateError(f"stream {request.stream_id} is being searched already", 1.0)
            if len(self._running) >= MOST_SEARCHES:
                raise BusyError(f"{MOST_SEARCHES} streams are being searched already")
            frame = stream.frame_of(request.reference)
            stream.hold(frame, Holder.SEGMENTS)
            # Now, since no step is in flight while a command is carried out.
            features, size = self._tracker.conditioned(stream.session, frame.tracker_index)
        except ControlError as error:
            request.refuse(error)
        except STEP_ERRORS as error:
            _failed(request, error)
        else:
            search = self._passes(request.options, features, size)
            found = partial(FrameSegments, frame.index, frame.session_id, *size)
            reference = FrameReference(frame.index, session_id=frame.session_id)
            self._running.append(_Running(request, reference, search, found))

    def advance(self, *, idle: bool) -> bool:
        """One pass of the search that waited longest; returns whether it did one.

        ``idle``: no frame waits. Otherwise a pass is done only after three times its time.
        """
        began_ns = self._clock.monotonic_ns()
        if not self._running or (not idle and began_ns < self._next_ns):
            return False
        running = self._running.popleft()
        points = self._points
        if self._goes_on(running):
            self._running.append(running)
        ended_ns = self._clock.monotonic_ns()
        took_ns = max(ended_ns - began_ns, 1)
        self._next_ns = began_ns + _BUSY_SHARE * took_ns
        # Where a step takes long, so may the pass beside it: the share is of the time.
        others_ns = began_ns - self._ended_ns
        self._ended_ns = ended_ns
        budget_ns = max(seconds_to_ns(PASS_S), others_ns // (_BUSY_SHARE - 1))
        affordable = points * budget_ns // took_ns
        self._points = min(max(affordable, 1), 2 * points, _MOST_POINTS)
        return True

    def withdraw(self, unwanted: Callable[[str], bool], reason: str) -> None:
        """End the searches of the streams that are ``unwanted``."""
        ended = [each for each in self._running if unwanted(each.request.stream_id)]
        self._running = deque(each for each in self._running if each not in ended)
        for each in ended:
            each.request.refuse(ControlError(reason))

    def _goes_on(self, running: _Running) -> bool:
        request = running.request
        if request.outcome.cancelled():
            return False
        with suppress(ControlError, KeyError):  # its connection is over, or its stream
            stream = self._streams[request.stream_id]
            stream.hold(stream.frame_of(running.frame), Holder.SEGMENTS)
        try:
            next(running.search)
        except StopIteration as end:
            request.found(running.found(end.value))
        except STEP_ERRORS as error:
            _failed(request, error)
        else:
            return True
        return False

    def _passes(
        self, options: GeneratorOptions, features: ImageFeatures, size: tuple[int, int]
    ) -> Search:
        from tracker import Embeddings, ImagePredictor, MaskGenerator

        tracker = self._tracker
        predictor = ImagePredictor(
            tracker.model(),
            tracker.device,
            PictureOptions(compute_dtype=tracker.options.compute_dtype),
        )
        embeddings = Embeddings(predictor.identity, features, (size,))
        generator = MaskGenerator(predictor, options)
        return (yield from generator.search(embeddings, lambda: self._points))


def _failed(request: SegmentRequest, error: Exception) -> None:
    """Refuse after an error of a step; a lost device ends the daemon."""
    if is_device_lost(error):
        request.refuse(ControlError(f"the device is lost: {error}"))
        raise error
    _log.error("%s: a search for everything failed", request.stream_id, exc_info=error)
    request.refuse(ControlError(f"the tracker failed: {error}"))

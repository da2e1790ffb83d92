"""The result of a tracker's step for one frame, and the clock of the object lifecycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamer.types import ClockSource, Frame
from tracker.types import StepFacts, Track


class StepResult(NamedTuple):
    """The result of a step for one stream's frame.

    ``tracker_index`` is the tracker's own number of the frame. ``started_ns`` and ``tracked_ns``
    (monotonic): when the frame was submitted, and when its tracks were on the host. Where steps
    overlap, the time between them includes part of the step before.
    """

    tracks: Sequence[Track]
    tracker_index: int
    facts: StepFacts
    started_ns: int
    tracked_ns: int


def lifecycle_time_ns(frame: Frame) -> int:
    """The time used by the object lifecycle: a file's own, which may run faster than ours."""
    picture = frame.picture
    if picture.clock_source is ClockSource.FILE:
        return picture.capture_time_ns
    return picture.arrival_monotonic_ns

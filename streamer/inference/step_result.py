"""What a step of the tracker found on a frame, and by which clock the frame's objects live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streamer.types import ClockSource, Frame
from tracker.types import StepFacts, Track


class StepResult(NamedTuple):
    """What a step found on one stream's frame.

    ``tracker_index``: the tracker's own number for the frame. ``started_ns``, ``tracked_ns``
    (monotonic): when the frame was given to the tracker, and when its tracks were on the host.
    Where steps overlap, the time between them is partly that of the step before.
    """

    tracks: Sequence[Track]
    tracker_index: int
    facts: StepFacts
    started_ns: int
    tracked_ns: int


def lifecycle_time_ns(frame: Frame) -> int:
    """The time by which an object is lost: a file's own, which may run faster than ours."""
    picture = frame.picture
    if picture.clock_source is ClockSource.FILE:
        return picture.capture_time_ns
    return picture.arrival_monotonic_ns

"""Test frames: a moving object, a number in the pixels, and camera-like timestamps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from streamer.types import ClockSource, DecodedFrame, Frame, FrameResult, ObjectResult, RgbPixels
from tests.integration.browser.frame_counter import stamp, strip_height
from tracker.types import Track, TrackState

WIDTH, HEIGHT = 320, 180
RATE_HZ = 30
START_NS = 3_000_000_000_000
CAPTURE_OFFSET_NS = 1_700_000_000_000_000_000


def box_of(index: int, width: int = WIDTH, height: int = HEIGHT) -> tuple[int, int, int, int]:
    """Where the object is on frame ``index``."""
    x0 = width // 8 + 2 * index % (width // 2)
    y0 = height // 3
    return (x0, y0, x0 + width // 8, y0 + height // 4)


def seen(object_id: int, index: int, width: int = WIDTH, height: int = HEIGHT) -> Track:
    """The object, visible."""
    x0, y0, x1, y1 = box_of(index, width, height)
    crop = np.ones((y1 - y0, x1 - x0), dtype=np.bool_)
    return Track(
        object_id, TrackState.VISIBLE, (x0, y0, x1, y1), crop, crop.size, 0.9, 0.9, height, width
    )


def unseen(
    object_id: int,
    state: TrackState = TrackState.OCCLUDED,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Track:
    """The object, hidden or lost."""
    crop = np.zeros((0, 0), dtype=np.bool_)
    return Track(object_id, state, (0, 0, 0, 0), crop, 0, 0.1, 0.1, height, width)


def frame_result(
    index: int,
    tracks: tuple[Track, ...] | None = None,
    *,
    stream_id: str = "gate",
    session_id: str = "5e55",
    width: int = WIDTH,
    height: int = HEIGHT,
    arrival_ns: int | None = None,
    label: str | None = None,
    colour: str | None = None,
) -> FrameResult:
    """Frame ``index`` with its number in its pixels and one object, or ``tracks``."""
    image = np.full((height, width, 3), (40, 90, 50), dtype=np.uint8)
    image[strip_height(height) :: 7, :] = (60, 120, 70)
    stamp(image, index)
    arrival = START_NS + index * 1_000_000_000 // RATE_HZ if arrival_ns is None else arrival_ns
    picture = DecodedFrame(
        pixels=RgbPixels(image),
        pts=index,
        time_base=Fraction(1, RATE_HZ),
        capture_time_ns=CAPTURE_OFFSET_NS + arrival,
        clock_source=ClockSource.ARRIVAL,
        arrival_time_ns=CAPTURE_OFFSET_NS + arrival,
        arrival_monotonic_ns=arrival,
        decoded_monotonic_ns=arrival,
    )
    objects = (seen(1, index, width, height),) if tracks is None else tracks
    return FrameResult(
        frame=Frame(stream_id, session_id, index, picture),
        started_monotonic_ns=arrival + 1_000_000,
        tracked_monotonic_ns=arrival + 2_000_000,
        objects=tuple(ObjectResult(track, label, colour) for track in objects),
    )

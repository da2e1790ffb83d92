"""Results, events and states with fixed values, for tests of everything that goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from streamer.types import (
    ClockSource,
    DecodedFrame,
    EventKind,
    Frame,
    FrameResult,
    ObjectResult,
    RgbPixels,
    StreamEvent,
    StreamState,
    StreamStatus,
)
from streamer.wire.codec import Origin
from tracker.types import MaskArray, Track, TrackState

ORIGIN = Origin("masklet-test", 1_700_000_000_000)
CAPTURE_NS = 1_700_000_001_000_000_000
ARRIVAL_MONOTONIC_NS = 5_000_000_000
WIDTH, HEIGHT = 64, 48


def l_shape() -> MaskArray:
    """Six rows, five columns: an L."""
    crop = np.zeros((6, 5), dtype=np.bool_)
    crop[:, :2] = True
    crop[4:, :] = True
    return crop


def track(
    object_id: int = 1,
    crop: MaskArray | None = None,
    offset: tuple[int, int] = (10, 20),
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Track:
    """A visible object with the mask ``crop`` at ``offset``."""
    mask = l_shape() if crop is None else crop
    x0, y0 = offset
    return Track(
        object_id=object_id,
        state=TrackState.VISIBLE,
        box_xyxy=(x0, y0, x0 + mask.shape[1], y0 + mask.shape[0]),
        crop=mask,
        area=int(mask.sum()),
        predicted_iou=0.875,
        object_score=0.96875,
        frame_height=height,
        frame_width=width,
    )


def hidden(object_id: int) -> Track:
    """An object that is not seen."""
    return Track(
        object_id=object_id,
        state=TrackState.OCCLUDED,
        box_xyxy=(0, 0, 0, 0),
        crop=np.zeros((0, 0), dtype=np.bool_),
        area=0,
        predicted_iou=0.25,
        object_score=0.125,
        frame_height=HEIGHT,
        frame_width=WIDTH,
    )


def result(
    index: int = 7,
    stream_id: str = "gate",
    tracks: Sequence[Track] | None = None,
    dropped: dict[str, int] | None = None,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> FrameResult:
    """A frame with one L-shaped and one hidden object, or with ``tracks``."""
    picture = DecodedFrame(
        pixels=RgbPixels(np.zeros((height, width, 3), dtype=np.uint8)),
        pts=index * 3600,
        time_base=Fraction(1, 90_000),
        capture_time_ns=CAPTURE_NS,
        clock_source=ClockSource.RTCP_SR,
        arrival_time_ns=CAPTURE_NS + 4_000_000,
        arrival_monotonic_ns=ARRIVAL_MONOTONIC_NS,
        decoded_monotonic_ns=ARRIVAL_MONOTONIC_NS + 5_000_000,
    )
    objects = [track(1), hidden(2)] if tracks is None else tracks
    return FrameResult(
        frame=Frame(stream_id, "5e55", index, picture, dict(dropped or {})),
        started_monotonic_ns=ARRIVAL_MONOTONIC_NS + 6_000_000,
        tracked_monotonic_ns=ARRIVAL_MONOTONIC_NS + 26_000_000,
        objects=tuple(
            ObjectResult(each, "ball" if each.object_id == 1 else None) for each in objects
        ),
    )


def published_clock_ns() -> int:
    """27 ms after the arrival of every frame."""
    return ARRIVAL_MONOTONIC_NS + 27_000_000


def event(kind: EventKind = EventKind.OCCLUDED, stream_id: str = "gate") -> StreamEvent:
    """Something happened to object 2."""
    return StreamEvent(
        stream_id=stream_id,
        kind=kind,
        time_ns=CAPTURE_NS,
        object_id=2,
        label="keeper",
        frame_index=7,
    )


def status(stream_id: str = "gate", state: StreamState = StreamState.LIVE) -> StreamStatus:
    """A stream that has seen something of life."""
    return StreamStatus(
        stream_id=stream_id,
        state=state,
        time_ns=CAPTURE_NS,
        url="rtsp://***@camera/stream",
        session_id="5e55",
        width=WIDTH,
        height=HEIGHT,
        frames_decoded=120,
        frames_tracked=100,
        frames_dropped={"superseded": 20},
        connect_failures=1,
        object_ids=(1, 2),
    )

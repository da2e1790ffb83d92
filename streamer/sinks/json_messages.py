"""Results as JSON messages, with the content of the ZeroMQ interface (``docs/wire.md``)."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from streamer.runtime.clock import Clock
from streamer.types import FrameResult, StreamEvent, StreamStatus
from streamer.webrtc.rtp_clock import rtp_time
from streamer.wire.fields import event_fields, frame_fields, object_fields, status_fields
from streamer.wire.mask_codecs import MaskEncoding, encode_crop, polygon_rings
from streamer.wire.messages import StageTimes
from tracker.types import Track

_NANOSECONDS_PER_MILLISECOND = 1e6


class JsonMasks(StrEnum):
    """How masks are written: COCO's compressed counts, outlines (lossy), or not at all."""

    RLE = "rle"
    POLYGON = "polygon"
    NONE = "none"


class RleMask(msgspec.Struct, frozen=True, tag_field="encoding", tag="rle"):
    """``counts``: COCO's compressed RLE of the crop. ``offset`` [x, y], ``size`` [h, w]."""

    offset: tuple[int, int]
    size: tuple[int, int]
    counts: str


class PolygonMask(msgspec.Struct, frozen=True, tag_field="encoding", tag="polygon"):
    """``polygons``: rings x0, y0, x1, y1 … of pixel centres in the crop, even-odd rule."""

    offset: tuple[int, int]
    size: tuple[int, int]
    polygons: list[list[int]]


class JsonObject(msgspec.Struct, frozen=True):
    """One object. ``bbox`` is x0, y0, x1, y1 in source pixels, half-open; zeros if not seen."""

    id: int
    label: str | None
    colour: str | None
    state: str
    bbox: tuple[int, int, int, int]
    bbox_smooth: tuple[float, float, float, float] | None
    bbox_expected: tuple[float, float, float, float] | None
    area: int
    score: float
    score_calibrated: float | None
    object_score: float
    mask: RleMask | PolygonMask | None


class JsonFrame(msgspec.Struct, frozen=True, tag_field="type", tag="frame"):
    """All objects on one frame.

    ``rtp_time`` is the 90 kHz time of the frame in the live video, less the offset that the
    viewer received (``Masklet-RTP-Offset``). ``capture_time_ns`` exceeds what a double holds
    exactly: pages read ``capture_time_ms``. ``latency_ms`` is capture to here; ``stage_times_ns``
    counts from the frame's arrival.
    """

    stream_id: str
    session_id: str
    frame_index: int
    pts: int | None
    time_base: tuple[int, int]
    capture_time_ns: int
    capture_time_ms: float
    clock_source: str
    width: int
    height: int
    rtp_time: int
    latency_ms: float
    stage_times_ns: StageTimes
    dropped_since_last: dict[str, int]
    objects: list[JsonObject]


class JsonEvent(msgspec.Struct, frozen=True, tag_field="type", tag="event"):
    """Something that happened to an object or the stream."""

    kind: str
    stream_id: str
    time_ns: int
    time_ms: float
    reason: str | None
    object_id: int | None
    label: str | None
    request_id: str | None
    frame_index: int | None
    detail: str | None
    absent_s: float | None


class JsonStatus(msgspec.Struct, frozen=True, tag_field="type", tag="status"):
    """The status of the stream; sent first to every reader, and at every change."""

    stream_id: str
    state: str
    time_ns: int
    time_ms: float
    url: str
    reason: str | None
    detail: str | None
    session_id: str | None
    width: int
    height: int
    frames_decoded: int
    frames_tracked: int
    frames_dropped: dict[str, int]
    connect_failures: int
    object_ids: list[int]
    paused: bool


def json_text(message: JsonFrame | JsonEvent | JsonStatus) -> str:
    """Encode a message."""
    return msgspec.json.encode(message).decode()


def json_frame(result: FrameResult, masks: JsonMasks, clock: Clock) -> JsonFrame:
    """A result as a JSON message."""
    objects = [
        JsonObject(
            **object_fields(entry)
            | {
                "score": finite(entry.track.predicted_iou),
                "object_score": finite(entry.track.object_score),
            },
            mask=json_mask(entry.track, masks),
        )
        for entry in result.objects
    ]
    picture = result.frame.picture
    return JsonFrame(
        capture_time_ms=picture.capture_time_ns / _NANOSECONDS_PER_MILLISECOND,
        rtp_time=rtp_time(picture),
        latency_ms=(clock.unix_ns() - picture.capture_time_ns) / _NANOSECONDS_PER_MILLISECOND,
        objects=objects,
        **frame_fields(result, clock.monotonic_ns()),
    )


def json_mask(track: Track, masks: JsonMasks) -> RleMask | PolygonMask | None:
    """The mask of a visible object; None for a hidden one, and for ``none``."""
    if masks is JsonMasks.NONE or track.area == 0:
        return None
    x0, y0, x1, y1 = _box(track)
    offset, size = (x0, y0), (y1 - y0, x1 - x0)
    if masks is JsonMasks.POLYGON:
        return PolygonMask(offset, size, polygon_rings(track.crop))
    return RleMask(offset, size, encode_crop(track.crop, MaskEncoding.RLE).decode("ascii"))


def json_event(event: StreamEvent) -> JsonEvent:
    """An event as a JSON message."""
    time_ms = event.time_ns / _NANOSECONDS_PER_MILLISECOND
    return JsonEvent(time_ms=time_ms, **event_fields(event))


def json_status(status: StreamStatus) -> JsonStatus:
    """A status as a JSON message."""
    time_ms = status.time_ns / _NANOSECONDS_PER_MILLISECOND
    return JsonStatus(time_ms=time_ms, **status_fields(status))


def _box(track: Track) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (int(side) for side in track.box_xyxy)
    return x0, y0, x1, y1


def finite(score: float) -> float:
    """The score, or 0 for NaN, which JSON does not have: a NaN is no confidence."""
    return float(score) if math.isfinite(score) else 0.0

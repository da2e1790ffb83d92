"""The fields of a frame, an object, an event and a status, for messages of every format.

The MessagePack headers (``codec``), the JSON messages (``sinks.json_messages``) and the API's
answers have these fields in common, under these names, and add their own.
"""

from __future__ import annotations

from typing import Any

from streamer.types import FrameResult, ObjectResult, StreamEvent, StreamStatus
from streamer.wire.messages import StageTimes


def frame_fields(result: FrameResult, published_monotonic_ns: int) -> dict[str, Any]:
    """A frame and its stages, without its objects."""
    frame = result.frame
    picture = frame.picture
    arrival = picture.arrival_monotonic_ns
    return {
        "stream_id": frame.stream_id,
        "session_id": frame.session_id,
        "frame_index": frame.index,
        "pts": picture.pts,
        "time_base": (picture.time_base.numerator, picture.time_base.denominator),
        "capture_time_ns": picture.capture_time_ns,
        "clock_source": picture.clock_source.value,
        "width": picture.pixels.width,
        "height": picture.pixels.height,
        "stage_times_ns": StageTimes(
            decoded=picture.decoded_monotonic_ns - arrival,
            started=result.started_monotonic_ns - arrival,
            tracked=result.tracked_monotonic_ns - arrival,
            published=published_monotonic_ns - arrival,
        ),
        "dropped_since_last": dict(frame.dropped_before),
    }


def object_fields(entry: ObjectResult) -> dict[str, Any]:
    """An object on a frame, without its mask."""
    track = entry.track
    x0, y0, x1, y1 = (int(side) for side in track.box_xyxy)
    return {
        "id": int(track.object_id),
        "label": entry.label,
        "colour": entry.colour,
        "state": track.state.value,
        "bbox": (x0, y0, x1, y1),
        "bbox_smooth": entry.smooth_box_xyxy,
        "bbox_expected": None if track.area else track.predicted_box_xyxy,
        "area": int(track.area),
        "score": float(track.predicted_iou),
        "score_calibrated": track.calibrated_iou,
        "object_score": float(track.object_score),
    }


def event_fields(event: StreamEvent) -> dict[str, Any]:
    """An event."""
    return {
        "stream_id": event.stream_id,
        "kind": event.kind.value,
        "time_ns": event.time_ns,
        "reason": event.reason,
        "object_id": event.object_id,
        "label": event.label,
        "request_id": event.request_id,
        "frame_index": event.frame_index,
        "detail": event.detail,
        "absent_s": event.absent_s,
    }


def status_fields(status: StreamStatus) -> dict[str, Any]:
    """The status of a stream."""
    return {
        "stream_id": status.stream_id,
        "state": status.state.value,
        "time_ns": status.time_ns,
        "url": status.url,
        "reason": status.reason,
        "detail": status.detail,
        "session_id": status.session_id,
        "width": status.width,
        "height": status.height,
        "frames_decoded": status.frames_decoded,
        "frames_tracked": status.frames_tracked,
        "frames_dropped": dict(status.frames_dropped),
        "connect_failures": status.connect_failures,
        "object_ids": list(status.object_ids),
        "paused": status.paused,
    }

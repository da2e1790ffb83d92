"""Encodes and decodes the messages of the ZeroMQ interface, version 1.

A message is multipart: ``[topic][header][mask 0][mask 1]…``. The header is a MessagePack map;
a mask part belongs to the object whose header names it. Knows no socket and no thread; shared
by the publisher (``sinks/zeromq``) and the client (``client/subscriber.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from streamer.errors import WireError, WireVersionError
from streamer.types import FrameResult, StreamEvent, StreamStatus
from streamer.wire.fields import event_fields, frame_fields, object_fields, status_fields
from streamer.wire.mask_codecs import MaskEncoding, encode_crop
from streamer.wire.messages import (
    SCHEMA,
    EventMessage,
    FrameHeader,
    FrameMessage,
    Header,
    HeartbeatMessage,
    MaskHeader,
    Message,
    ObjectHeader,
    Origin,
    StageTimes,
    StatusMessage,
    Topic,
    TopicKind,
)

# More than any source decodes. A decoded mask has a byte per pixel: the bound keeps a header of a
# few bytes from filling a reader's memory.
LARGEST_FRAME_PIXELS = 1 << 26

__all__ = [
    "SCHEMA",
    "EventMessage",
    "FrameHeader",
    "FrameMessage",
    "HeartbeatMessage",
    "MaskEncoding",
    "MaskHeader",
    "Message",
    "ObjectHeader",
    "Origin",
    "StageTimes",
    "StatusMessage",
    "Topic",
    "TopicKind",
    "decode",
    "encode_event",
    "encode_frame",
    "encode_heartbeat",
    "encode_status",
]


def encode_frame(
    result: FrameResult,
    *,
    origin: Origin,
    seq: int,
    published_clock_ns: Callable[[], int],
    encoding: MaskEncoding = MaskEncoding.RLE,
    kind: TopicKind = TopicKind.FRAME,
    replayed: bool = False,
) -> list[bytes]:
    """A ``frame`` message, or with ``kind=BOXES`` the same without masks.

    ``published_clock_ns`` is read once the masks are encoded: the monotonic clock, or for a
    replayed message the time of the first sending.
    """
    parts: list[bytes] = []
    objects: list[ObjectHeader] = []
    with_masks = kind is TopicKind.FRAME and encoding is not MaskEncoding.NONE
    for entry in result.objects:
        fields = object_fields(entry)
        mask = None
        if with_masks and entry.track.area > 0:
            x0, y0, x1, y1 = fields["bbox"]
            mask = MaskHeader(len(parts), encoding.value, (x0, y0), (y1 - y0, x1 - x0))
            parts.append(encode_crop(entry.track.crop, encoding))
        objects.append(ObjectHeader(**fields, mask=mask))
    header = FrameHeader(
        schema=SCHEMA,
        publisher_id=origin.publisher_id,
        epoch=origin.epoch,
        seq=seq,
        replayed=replayed,
        arrival_time_ns=result.frame.picture.arrival_time_ns,
        objects=objects,
        has_masks=with_masks or kind is TopicKind.BOXES,
        **frame_fields(result, published_clock_ns()),
    )
    return [Topic(kind, header.stream_id).encode(), msgspec.msgpack.encode(header), *parts]


def encode_event(event: StreamEvent, *, origin: Origin, seq: int) -> list[bytes]:
    """An ``event`` message."""
    header = EventMessage(
        schema=SCHEMA,
        publisher_id=origin.publisher_id,
        epoch=origin.epoch,
        seq=seq,
        **event_fields(event),
    )
    return [Topic(TopicKind.EVENT, event.stream_id).encode(), msgspec.msgpack.encode(header)]


def encode_status(
    status: StreamStatus,
    *,
    origin: Origin,
    seq: int,
    next_seq: Mapping[str, int],
    replayed: bool = False,
) -> list[bytes]:
    """A ``status`` message."""
    header = StatusMessage(
        schema=SCHEMA,
        publisher_id=origin.publisher_id,
        epoch=origin.epoch,
        seq=seq,
        replayed=replayed,
        next_seq=dict(next_seq),
        **status_fields(status),
    )
    return [Topic(TopicKind.STATUS, status.stream_id).encode(), msgspec.msgpack.encode(header)]


def encode_heartbeat(
    *,
    origin: Origin,
    seq: int,
    time_ns: int,
    interval_s: float,
    streams: Sequence[str],
    stopping: bool = False,
) -> list[bytes]:
    """A ``heartbeat`` message; the last one of a publisher has the state ``stopping``."""
    header = HeartbeatMessage(
        schema=SCHEMA,
        publisher_id=origin.publisher_id,
        epoch=origin.epoch,
        seq=seq,
        time_ns=time_ns,
        state="stopping" if stopping else "running",
        interval_s=interval_s,
        streams=list(streams),
    )
    return [Topic(TopicKind.HEARTBEAT).encode(), msgspec.msgpack.encode(header)]


def decode(parts: Sequence[bytes]) -> Message:
    """Decode one multipart message.

    Raises ``WireVersionError`` for an unknown major version, ``WireError`` for anything else
    that is not a message of this interface. Mask parts are checked when they are decoded.
    """
    if len(parts) < 2:
        raise WireError(f"a message has at least a topic and a header, got {len(parts)} part(s)")
    topic = Topic.decode(parts[0])
    match topic.kind:
        case TopicKind.FRAME | TopicKind.BOXES:
            header = _read(parts[1], FrameHeader)
            if header.width * header.height > LARGEST_FRAME_PIXELS:
                raise WireError(f"a frame of {header.width} x {header.height} pixels is too large")
            return FrameMessage(topic, header, tuple(parts[2:]))
        case TopicKind.EVENT:
            return _read(parts[1], EventMessage)
        case TopicKind.STATUS:
            return _read(parts[1], StatusMessage)
        case TopicKind.HEARTBEAT:
            return _read(parts[1], HeartbeatMessage)


class _SchemaOnly(msgspec.Struct):
    schema: str


HeaderT = TypeVar("HeaderT", bound=Header)


def _read(part: bytes, kind: type[HeaderT]) -> HeaderT:
    try:
        # The version first: a later one may have changed any other key.
        schema = msgspec.msgpack.decode(part, type=_SchemaOnly).schema
        name, _, version = schema.partition("/")
        if name == "masklet" and version.partition(".")[0] != "1":
            raise WireVersionError(f"a message of schema {schema!r}; this reader knows {SCHEMA}")
        if name != "masklet":
            raise WireError(f"a message of schema {schema!r}; this reader knows {SCHEMA}")
        return msgspec.msgpack.decode(part, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"the header is not a {kind.__name__}: {error}") from error

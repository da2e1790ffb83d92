"""The messages of the ZeroMQ interface, version 1: topics, headers, masks.

``docs/wire.md`` is the contract for consumers in other languages; ``codec.py`` encodes
and decodes them. Readers ignore keys they do not know, and take ``state``, ``kind``,
``reason`` and ``encoding`` as plain strings, so that version 1 can grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec
import numpy as np

from streamer.errors import WireError, WireVersionError
from streamer.wire.mask_codecs import CocoRle, coco_rle, decode_crop
from tracker.types import MaskArray

SCHEMA = "masklet/1"
TOPIC_PREFIX = "v1/"

Side = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class TopicKind(StrEnum):
    """The second word of a topic."""

    FRAME = "frame"
    BOXES = "boxes"
    EVENT = "event"
    STATUS = "status"
    HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class Topic:
    """``v1/<kind>/<stream_id>/``; the heartbeat's has no stream: ``v1/heartbeat/``.

    The closing slash is part of it: a subscription to ``v1/frame/cam1/`` never receives cam10.
    """

    kind: TopicKind
    stream_id: str | None = None

    def __str__(self) -> str:
        if self.stream_id is None:
            return f"{TOPIC_PREFIX}{self.kind}/"
        return f"{TOPIC_PREFIX}{self.kind}/{self.stream_id}/"

    def encode(self) -> bytes:
        """The topic part. Raises ``WireError`` for a stream id that would break topics."""
        if self.stream_id is not None and (not self.stream_id or "/" in self.stream_id):
            raise WireError(f"stream id {self.stream_id!r} cannot be a topic: empty or with a '/'")
        return str(self).encode()

    @classmethod
    def decode(cls, part: bytes) -> Topic:
        """Read a topic part. Raises ``WireVersionError`` for another major version's topic."""
        text = part.decode(errors="replace")
        version, _, rest = text.partition("/")
        kind, _, stream = rest.partition("/")
        if version != "v1" and version[:1] == "v" and version[1:].isdigit():
            raise WireVersionError(f"topic {text!r} is of version {version}; this reader knows v1")
        is_known = version == "v1" and kind in set(TopicKind)
        if is_known and kind == TopicKind.HEARTBEAT and rest == f"{kind}/":
            return cls(TopicKind.HEARTBEAT)
        if is_known and kind != TopicKind.HEARTBEAT and len(stream) > 1 and stream.endswith("/"):
            return cls(TopicKind(kind), stream[:-1])
        raise WireError(f"topic {text[:100]!r} is not one of this interface")


@dataclass(frozen=True, slots=True)
class Origin:
    """The publisher: its name and its ``epoch``, Unix ms of its start."""

    publisher_id: str
    epoch: int


class Header(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every header begins with. ``seq`` counts the messages of one topic, from 0."""

    schema: str
    publisher_id: str
    epoch: int
    seq: Count
    replayed: bool = False


class MaskHeader(msgspec.Struct, frozen=True):
    """Which part holds an object's mask (0 is the first after the header), how, and where.

    ``offset`` is [x, y] of the crop in the frame, ``size`` its [height, width].
    """

    part: Count
    encoding: str
    offset: tuple[Side, Side]
    size: tuple[Side, Side]


class ObjectHeader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object. ``bbox`` is x0, y0, x1, y1 in source pixels, half-open; zeros if not seen."""

    id: int
    state: str
    bbox: tuple[Side, Side, Side, Side]
    area: Count
    score: float
    object_score: float
    score_calibrated: float | None = None
    bbox_smooth: tuple[float, float, float, float] | None = None
    bbox_expected: tuple[float, float, float, float] | None = None
    label: str | None = None
    colour: str | None = None
    mask: MaskHeader | None = None


class StageTimes(msgspec.Struct, frozen=True, kw_only=True):
    """When each stage was finished, ns after the frame's arrival, by the monotonic clock."""

    decoded: int
    started: int
    tracked: int
    published: int


class FrameHeader(Header, frozen=True, kw_only=True, omit_defaults=True):
    """The header of ``frame`` and ``boxes`` messages.

    ``has_masks`` is False in a ``frame`` whose objects have none, whatever their area.
    """

    stream_id: str
    session_id: str
    frame_index: Count
    pts: int | None
    time_base: tuple[int, int]
    capture_time_ns: int
    clock_source: str
    arrival_time_ns: int
    width: Side
    height: Side
    stage_times_ns: StageTimes
    dropped_since_last: dict[str, int]
    objects: list[ObjectHeader]
    has_masks: bool = True


class EventMessage(Header, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to an object or a stream; keys without a value are left out."""

    stream_id: str
    kind: str
    time_ns: int
    reason: str | None = None
    object_id: int | None = None
    label: str | None = None
    request_id: str | None = None
    frame_index: int | None = None
    detail: str | None = None
    absent_s: float | None = None

    @property
    def topic(self) -> Topic:
        """The topic it came under."""
        return Topic(TopicKind.EVENT, self.stream_id)


class StatusMessage(Header, frozen=True, kw_only=True, omit_defaults=True):
    """The status of a stream. ``next_seq`` holds, by topic kind, the next number to be sent.

    It lets a reader detect the loss of a topic's last message, after which nothing followed.
    """

    stream_id: str
    state: str
    time_ns: int
    url: str
    width: Side
    height: Side
    frames_decoded: Count
    frames_tracked: Count
    frames_dropped: dict[str, int]
    connect_failures: Count
    object_ids: list[int]
    next_seq: dict[str, int]
    reason: str | None = None
    detail: str | None = None
    session_id: str | None = None
    paused: bool = False

    @property
    def topic(self) -> Topic:
        """The topic it came under."""
        return Topic(TopicKind.STATUS, self.stream_id)


class HeartbeatMessage(Header, frozen=True, kw_only=True, omit_defaults=True):
    """A sign of life. ``state`` is ``running``, or ``stopping`` in the publisher's last message."""

    time_ns: int
    state: str
    interval_s: float
    streams: list[str]

    @property
    def topic(self) -> Topic:
        """The topic it came under."""
        return Topic(TopicKind.HEARTBEAT)


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """A frame's header and its mask parts, decoded one by one and only when asked for."""

    topic: Topic
    header: FrameHeader
    parts: tuple[bytes, ...] = ()

    @property
    def stream_id(self) -> str:
        """The stream that the frame belongs to."""
        return self.header.stream_id

    @property
    def objects(self) -> list[ObjectHeader]:
        """All objects on this frame."""
        return self.header.objects

    def crop(self, entry: ObjectHeader) -> MaskArray:
        """The mask inside its box, (height, width) bool; 0 × 0 for an object without a mask."""
        mask = entry.mask
        if mask is None:
            return np.zeros((0, 0), dtype=np.bool_)
        height, width = mask.size
        x0, y0 = mask.offset
        if x0 + width > self.header.width or y0 + height > self.header.height:
            raise WireError(f"object {entry.id}: its mask extends beyond the frame")
        if mask.part >= len(self.parts):
            raise WireError(
                f"object {entry.id}: its mask is part {mask.part}, the message has "
                f"{len(self.parts)}"
            )
        return decode_crop(self.parts[mask.part], mask.encoding, height, width)

    def mask(self, entry: ObjectHeader) -> MaskArray:
        """The mask on the whole frame, (frame height, frame width) bool."""
        full = np.zeros((self.header.height, self.header.width), dtype=np.bool_)
        if entry.mask is not None:
            x0, y0 = entry.mask.offset
            height, width = entry.mask.size
            full[y0 : y0 + height, x0 : x0 + width] = self.crop(entry)
        return full

    def coco_rle(self, entry: ObjectHeader) -> CocoRle:
        """The mask on the whole frame as COCO's ``{"size": [h, w], "counts": bytes}``."""
        offset = (0, 0) if entry.mask is None else entry.mask.offset
        return coco_rle(self.crop(entry), offset, (self.header.height, self.header.width))


Message = FrameMessage | EventMessage | StatusMessage | HeartbeatMessage

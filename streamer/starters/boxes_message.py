"""The messages of a detector elsewhere, and the answers to them (``README.md`` is the contract)."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from streamer.config.schema import (
    LABEL_PATTERN,
    STREAM_ID,
)
from streamer.errors import WireError, WireVersionError
from streamer.starters.detection import DETECTIONS_PER_LOOK, Detection
from streamer.wire.mask_codecs import (
    MaskEncoding,
    decode_crop,
    encode_crop,
)

BOXES_SCHEMA = "masklet-boxes/1"
_THIS_VERSION = re.compile(rf"{BOXES_SCHEMA}(\.\d+)?")
# Bound: of all masks of one message; the decoded masks lie in memory until they are judged.
MASK_PIXELS = 1 << 24
# What msgspec raises for bytes from others; the last for maps in maps in maps.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Side = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Coordinate = Annotated[float, msgspec.Meta(ge=-100_000, le=100_000)]
ShortText = Annotated[str, msgspec.Meta(max_length=64)]


class BoxMask(msgspec.Struct, frozen=True):
    """A mask as in the results: COCO's compressed ``counts`` of a crop, and where that lies."""

    counts: bytes
    offset: tuple[Side, Side]
    size: tuple[Side, Side]


class BoxEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing: ``box`` is x0, y0, x1, y1 in source pixels, half-open; a mask has its own."""

    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = None
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    label: Annotated[str, msgspec.Meta(pattern=rf"\A{LABEL_PATTERN}\Z")] | None = None
    mask: BoxMask | None = None


class BoxesMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All things on one frame, which is named by its index or its capture time."""

    schema: str
    stream_id: Annotated[str, msgspec.Meta(pattern=rf"\A{STREAM_ID.pattern}\Z")]
    boxes: Annotated[list[BoxEntry], msgspec.Meta(max_length=DETECTIONS_PER_LOOK)]
    frame_index: Annotated[int, msgspec.Meta(ge=0)] | None = None
    capture_time_ns: Annotated[int, msgspec.Meta(ge=0)] | None = None
    session_id: ShortText | None = None
    request_id: ShortText | None = None


class BoxesAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``accepted``, or why not: ``reason`` is a word, ``detail`` a sentence."""

    accepted: bool
    request_id: str | None = None
    reason: str | None = None
    detail: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    schema: str = ""
    request_id: str | None = None


def decode_boxes(payload: bytes) -> BoxesMessage:
    """Read a message. Raises ``WireVersionError`` for another major version, else ``WireError``."""
    try:
        schema = msgspec.msgpack.decode(payload, type=_Envelope).schema
        if not _THIS_VERSION.fullmatch(schema):
            raise WireVersionError(
                f"schema must be {BOXES_SCHEMA}, got {schema[:64]!r}; this daemon reads no other"
            )
        message = msgspec.msgpack.decode(payload, type=BoxesMessage)
    except _UNREADABLE as error:
        raise WireError(f"not a message of boxes: {error}") from error
    if (message.frame_index is None) == (message.capture_time_ns is None):
        raise WireError("a message names its frame by frame_index or capture_time_ns, one of them")
    return message


def request_id_of(payload: bytes) -> str | None:
    """The ``request_id`` of a message that may be broken."""
    try:
        found = msgspec.msgpack.decode(payload, type=_Envelope).request_id
    except _UNREADABLE:
        return None
    return None if found is None else found[:64]


def detections_of(message: BoxesMessage) -> list[Detection]:
    """The boxes as detections. Raises ``WireError`` for a box or a mask that cannot be."""
    pixels = sum(
        entry.mask.size[0] * entry.mask.size[1] for entry in message.boxes if entry.mask is not None
    )
    if pixels > MASK_PIXELS:
        raise WireError(
            f"the masks' crops have {pixels} pixels together, {MASK_PIXELS} are allowed: send "
            "crops, not whole pictures"
        )
    return [_detection(entry, index) for index, entry in enumerate(message.boxes)]


def entry_of(detection: Detection) -> BoxEntry:
    """A detection as it is sent."""
    mask = None
    if detection.crop is not None:
        x0, y0 = (round(each) for each in detection.box_xyxy[:2])
        height, width = detection.crop.shape
        counts = encode_crop(detection.crop, MaskEncoding.RLE)
        mask = BoxMask(counts, (x0, y0), (height, width))
    return BoxEntry(detection.box_xyxy, detection.score, detection.label, mask)


def _detection(entry: BoxEntry, index: int) -> Detection:
    if entry.mask is not None:
        (x0, y0), (height, width) = entry.mask.offset, entry.mask.size
        if not height or not width:
            raise WireError(f"boxes[{index}].mask has the size {height} x {width}")
        crop = decode_crop(entry.mask.counts, MaskEncoding.RLE, height, width)
        box = (float(x0), float(y0), float(x0 + width), float(y0 + height))
        return Detection(box, entry.score, entry.label, crop)
    if entry.box is None:
        raise WireError(f"boxes[{index}] has neither a box nor a mask")
    if not (entry.box[0] < entry.box[2] and entry.box[1] < entry.box[3]):
        raise WireError(
            f"boxes[{index}].box must be x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {entry.box}"
        )
    return Detection(entry.box, entry.score, entry.label)

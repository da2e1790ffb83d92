"""What passes over the control socket: MessagePack maps, one command and one reply each.

Local to one machine and one version of the daemon; not an interface for other programs.
Sizes are bounded here, so that a mistaken or hostile client costs a clear error and no more.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from streamer.config.schema import LABEL_PATTERN
from streamer.errors import ControlError
from tracker.types import MaskArray, Prompt

MAXIMUM_MESSAGE_BYTES = 4 * 1024 * 1024  # a packed mask of 8192 × 4096 pixels
MAXIMUM_WAIT_S = 60.0
# What msgspec raises for bytes from others; the last for maps in maps in maps.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Label = Annotated[str, Meta(pattern=rf"\A{LABEL_PATTERN}\Z")]
ObjectId = Annotated[int, Meta(ge=0, lt=2**31)]
Size = Annotated[int, Meta(ge=1, le=16384)]


class PackedMask(Struct, frozen=True, forbid_unknown_fields=True):
    """A boolean mask, row by row, eight pixels a byte."""

    height: Size
    width: Size
    bits: bytes


class PromptCommand(Struct, frozen=True, tag="prompt", forbid_unknown_fields=True):
    """Apply a prompt on the stream's next frame, within ``timeout_s``.

    ``correct`` refines a followed object on the newest frame that was tracked, instead.
    """

    stream_id: Name
    object_id: ObjectId
    points: Annotated[list[tuple[float, float]], Meta(max_length=256)] = []
    point_labels: Annotated[list[Literal[0, 1]], Meta(max_length=256)] = []
    box: tuple[float, float, float, float] | None = None
    mask: PackedMask | None = None
    label: Label | None = None
    replace_points: bool = False
    correct: bool = False
    timeout_s: Annotated[float, Meta(gt=0, le=MAXIMUM_WAIT_S)] = 10.0


class RemoveObjectCommand(Struct, frozen=True, tag="remove_object", forbid_unknown_fields=True):
    """Stop following an object."""

    stream_id: Name
    object_id: ObjectId


class ListStreamsCommand(Struct, frozen=True, tag="list_streams", forbid_unknown_fields=True):
    """Say how every stream does."""


class AddStreamCommand(Struct, frozen=True, tag="add_stream", forbid_unknown_fields=True):
    """Begin another stream; ``settings`` is what stands under ``streams.ID`` in a file."""

    stream_id: Name
    settings: dict[str, Any]


class RemoveStreamCommand(Struct, frozen=True, tag="remove_stream", forbid_unknown_fields=True):
    """End a stream, with its objects."""

    stream_id: Name


class StopCommand(Struct, frozen=True, tag="stop", forbid_unknown_fields=True):
    """End the daemon."""


Command = (
    PromptCommand
    | RemoveObjectCommand
    | ListStreamsCommand
    | AddStreamCommand
    | RemoveStreamCommand
    | StopCommand
)


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A command and the client's id for it."""

    request_id: Name
    command: Command


class PromptApplied(Struct, frozen=True, tag="prompt_applied"):
    """The object on the frame its prompt was applied to; ``box`` is half-open xyxy."""

    object_id: int
    frame_index: int
    box: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    visible: bool


class StreamSummary(Struct, frozen=True):
    """One stream, as ``masklet streams`` shows it; ``url`` is redacted."""

    stream_id: str
    state: str
    url: str
    reason: str | None
    detail: str | None
    width: int
    height: int
    frames_decoded: int
    frames_tracked: int
    frames_dropped: dict[str, int]
    connect_failures: int
    object_ids: tuple[int, ...]


class StreamList(Struct, frozen=True, tag="stream_list"):
    """Every stream."""

    streams: list[StreamSummary]


class Reply(Struct, frozen=True):
    """The answer to a request: a result, or ``error`` in words."""

    request_id: str
    error: str | None = None
    result: PromptApplied | StreamList | None = None


def encode(message: Request | Reply) -> bytes:
    """Bytes for the socket."""
    return msgspec.msgpack.encode(message)


def decode_reply(payload: bytes) -> Reply:
    """A reply from its bytes; raises ``ControlError``."""
    try:
        return msgspec.msgpack.decode(payload, type=Reply)
    except _UNREADABLE as error:
        raise ControlError(f"the daemon's answer was not understood: {error}") from error


def decode_request(payload: bytes) -> Request:
    """A request from its bytes; raises ``ControlError`` that says what is wrong with it."""
    try:
        return msgspec.msgpack.decode(payload, type=Request)
    except _UNREADABLE as error:
        raise ControlError(f"not a command: {error}") from error


def request_id_of(payload: bytes) -> str:
    """The id of a request that may not be understood otherwise, so that it can be answered."""

    class OnlyId(Struct):
        request_id: Name = "unknown"

    try:
        return msgspec.msgpack.decode(payload, type=OnlyId).request_id
    except _UNREADABLE:
        return "unknown"


def command_of(
    stream_id: str, prompt: Prompt, label: str | None, timeout_s: float, *, correct: bool = False
) -> PromptCommand:
    """The command that carries ``prompt``."""
    mask = None
    if prompt.mask is not None:
        height, width = prompt.mask.shape
        mask = PackedMask(height, width, np.packbits(prompt.mask).tobytes())
    return PromptCommand(
        stream_id=stream_id,
        object_id=prompt.object_id,
        points=list(prompt.points_xy),
        point_labels=[1 if label else 0 for label in prompt.point_labels],
        box=prompt.box_xyxy,
        mask=mask,
        label=label,
        replace_points=prompt.replace_points,
        correct=correct,
        timeout_s=timeout_s,
    )


def prompt_of(command: PromptCommand) -> Prompt:
    """The prompt that ``command`` carries; raises ``ControlError`` for a mask cut short."""
    return Prompt(
        object_id=command.object_id,
        points_xy=tuple(command.points),
        point_labels=tuple(command.point_labels) or (1,) * len(command.points),
        box_xyxy=command.box,
        mask=None if command.mask is None else _unpacked(command.mask),
        replace_points=command.replace_points,
    )


def _unpacked(packed: PackedMask) -> MaskArray:
    pixels = packed.height * packed.width
    if len(packed.bits) != (pixels + 7) // 8:
        raise ControlError(
            f"mask.bits must hold {(pixels + 7) // 8} bytes for {packed.width}×{packed.height} "
            f"pixels, got {len(packed.bits)}"
        )
    bits = np.unpackbits(np.frombuffer(packed.bits, dtype=np.uint8), count=pixels)
    return bits.astype(np.bool_).reshape(packed.height, packed.width)

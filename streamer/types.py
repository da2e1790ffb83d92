"""The data that the stages of the live path exchange: frames, results, events, states.

All of it is frozen, so receivers may keep it. Times are nanoseconds; names ending in
``_time_ns`` are Unix time, names ending in ``_monotonic_ns`` belong to ``time.monotonic_ns``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from tracker.memory.object_memory import ObjectMemory
from tracker.types import MaskArray, Track, TrackState

if TYPE_CHECKING:
    # They need torch; a program that only reads results does not have it.
    from tracker.images.prepared_image import PreparedImage
    from tracker.images.yuv import YuvPicture

ImageArray = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


class ClockSource(StrEnum):
    """Where a frame's capture time comes from."""

    RTCP_SR = "rtcp_sr"
    ARRIVAL = "arrival"
    FILE = "file"
    SYNTHETIC = "synthetic"


class DropReason(StrEnum):
    """Why a frame was not tracked. Stages: decode, slot, scheduler, inference."""

    CORRUPT = "corrupt"  # decode: the decoder marked the frame damaged
    NO_KEYFRAME = "no_keyframe"  # decode: nothing to decode from yet
    DECODE_ERROR = "decode_error"  # decode: the packet did not decode
    BEHIND = "behind"  # decode: decoding (or rendering) fell behind real time
    RATE_LIMIT = "rate_limit"  # slot: above max_rate_hz
    PAUSED = "paused"  # slot: the stream is paused
    SUPERSEDED = "superseded"  # slot: a newer frame came before it was taken
    FAILED = "failed"  # inference: the step raised for this frame


class Pixels(Protocol):
    """The pixels of a frame: ``RgbPixels``, or a decoder's ``sources.pixels.YuvPlanes``.

    They never change, and any thread may read them.
    """

    @property
    def height(self) -> int:
        """Rows of pixels."""

    @property
    def width(self) -> int:
        """Pixels in a row."""

    def rgb(self) -> ImageArray:
        """RGB uint8, (height, width, 3), C-contiguous: the same array at every call."""

    def for_tracker(self) -> ImageArray | YuvPicture:
        """The form in which the tracker receives them."""


@dataclass(frozen=True, slots=True, eq=False)
class RgbPixels:
    """``image``: RGB uint8, (height, width, 3), C-contiguous and never written again."""

    image: ImageArray

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return int(self.image.shape[1])

    def rgb(self) -> ImageArray:
        """The image itself."""
        return self.image

    def for_tracker(self) -> ImageArray:
        """The image itself."""
        return self.image


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame as a source delivers it.

    ``pts`` counts ``time_base`` units; None where the container gives none.
    """

    pixels: Pixels
    pts: int | None
    time_base: Fraction
    capture_time_ns: int
    clock_source: ClockSource
    arrival_time_ns: int
    arrival_monotonic_ns: int
    decoded_monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame with its place in a stream.

    ``session_id`` is new at every reconnection; ``index`` counts decoded frames of the stream
    from 0 and is never reset while the daemon runs. ``dropped_before`` counts, by reason, the
    frames lost between the previous frame taken and this one. ``prepared`` is the tracker's form
    of the picture, if it was made ahead of the step.
    """

    stream_id: str
    session_id: str
    index: int
    picture: DecodedFrame
    dropped_before: dict[str, int] = field(default_factory=dict)
    prepared: PreparedImage | None = None


@dataclass(frozen=True, slots=True)
class FrameReference:
    """Identifies a frame of a stream, such as the one a user clicked on; empty: the newest.

    ``frame_index`` is a ``Frame.index``. ``capture_time_ns`` selects the tracked frame nearest to
    it. The frame must belong to the connection ``session_id``, if that is given.
    """

    frame_index: int | None = None
    capture_time_ns: int | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """One object on one frame: the tracker's track, and the label and colour its user chose.

    ``colour`` is ``#rrggbb``. ``smooth_box_xyxy``, in source pixels, if the stream's boxes are
    smoothed and the object is visible.
    """

    track: Track
    label: str | None = None
    colour: str | None = None
    smooth_box_xyxy: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class ObjectSnapshot:
    """An object's label, colour and memory, to resume it after a restart."""

    object_id: int
    label: str | None
    colour: str | None
    memory: ObjectMemory


@dataclass(frozen=True, slots=True)
class FrameResult:
    """All objects of a stream on one frame, with the times of its step."""

    frame: Frame
    started_monotonic_ns: int
    tracked_monotonic_ns: int
    objects: tuple[ObjectResult, ...]


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """One tracked object on the newest frame, ``frame_index``, without its mask.

    -1: no frame was tracked since the object was restored, and it is shown as lost until then.
    ``expected_box_xyxy``: the predicted box of an object that is not visible.
    """

    object_id: int
    label: str | None
    colour: str | None
    state: TrackState
    box_xyxy: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    object_score: float
    frame_index: int
    calibrated_iou: float | None = None
    expected_box_xyxy: tuple[float, float, float, float] | None = None


class EventKind(StrEnum):
    """The kinds of events of an object or a stream (docs/wire.md, Events)."""

    ADDED = "added"
    OCCLUDED = "occluded"
    REACQUIRED = "reacquired"
    LOST = "lost"
    REMOVED = "removed"
    PROMPT_APPLIED = "prompt_applied"
    PROMPT_REJECTED = "prompt_rejected"
    STREAM_UP = "stream_up"
    STREAM_DOWN = "stream_down"
    STREAM_RESET = "stream_reset"
    DEGRADED = "degraded"
    SCENE_CUT = "scene_cut"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event, delivered reliably. ``frame_index`` is None if no frame is concerned.

    ``absent_s``: how long the object had been out of sight, in seconds of the stream.
    """

    stream_id: str
    kind: EventKind
    time_ns: int
    reason: str | None = None
    object_id: int | None = None
    label: str | None = None
    request_id: str | None = None
    frame_index: int | None = None
    detail: str | None = None
    absent_s: float | None = None


class StreamState(StrEnum):
    """The state of a stream's connection."""

    CONNECTING = "connecting"
    LIVE = "live"
    RETRYING = "retrying"
    ENDED = "ended"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The status of one stream. ``url`` is redacted."""

    stream_id: str
    state: StreamState
    time_ns: int
    url: str
    reason: str | None = None
    detail: str | None = None
    session_id: str | None = None
    width: int = 0
    height: int = 0
    frames_decoded: int = 0
    frames_tracked: int = 0
    frames_dropped: dict[str, int] = field(default_factory=dict)
    connect_failures: int = 0
    object_ids: tuple[int, ...] = ()
    paused: bool = False


Published = FrameResult | StreamEvent | StreamStatus


@dataclass(frozen=True, slots=True, eq=False)  # by identity: masks do not compare to a bool
class Detection:
    """One thing that a detector found in a picture.

    ``box_xyxy`` is half-open, in pixels of the picture. ``score`` is 0..1. ``crop`` is the
    boolean mask inside the box, (y1 - y0, x1 - x0); the box's coordinates are integers then.
    """

    box_xyxy: Box
    score: float = 1.0
    label: str | None = None
    crop: MaskArray | None = None

    @property
    def area(self) -> float:
        """Pixels of the mask, or of the box where there is no mask."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0) if self.crop is None else float(self.crop.sum())

    def mask(self, height: int, width: int) -> MaskArray:
        """The mask on the whole picture, (height, width) bool; only for one that has a mask."""
        assert self.crop is not None, "a detection without a mask"
        x0, y0, x1, y1 = (round(each) for each in self.box_xyxy)
        full = np.zeros((height, width), dtype=np.bool_)
        full[y0:y1, x0:x1] = self.crop
        return full

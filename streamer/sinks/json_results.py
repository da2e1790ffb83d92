"""Results as JSON for WebSockets: one text message a frame, event or state.

The same as the ZeroMQ interface says (``WIRE.md``), in keys that a page reads without a library.
Each item is encoded once for every kind of masks that somebody reads, not once a reader.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum

import msgspec

from streamer.mask_codecs import MaskEncoding, encode_crop, polygon_rings
from streamer.messages import StageTimes
from streamer.metrics import Metrics
from streamer.picture.rtp_time import rtp_time
from streamer.timing import Clock
from streamer.types import FrameResult, Published, StreamEvent, StreamState, StreamStatus
from tracker.types import Track

FRAMES_PER_READER = 2
OTHERS_PER_READER = 64
# Bound: last states of streams that did not stop; far more than can run.
STATES_KEPT = 256
# Masks that cover more pixels than this (0.15 ms as rle) are encoded off the event loop.
INLINE_PIXELS = 250_000
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
    area: int
    score: float
    object_score: float
    mask: RleMask | PolygonMask | None


class JsonFrame(msgspec.Struct, frozen=True, tag_field="type", tag="frame"):
    """All objects on one frame.

    ``rtp_time`` is the 90 kHz time of the frame in the live video, less the offset that the
    viewer was told (``Masklet-RTP-Offset``). ``capture_time_ns`` exceeds what a double holds
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


class JsonStatus(msgspec.Struct, frozen=True, tag_field="type", tag="status"):
    """Where the stream stands; sent first to every reader, and at every change."""

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


class ResultsReader:
    """One stream's messages for one socket: ``async for text in reader``.

    Bounds: ``FRAMES_PER_READER`` frames and ``OTHERS_PER_READER`` events and states wait; policy:
    the oldest of its sort goes when one more comes, which is counted. Used on the event loop.
    """

    def __init__(self, stream_id: str, masks: JsonMasks, metrics: Metrics) -> None:
        self.stream_id = stream_id
        self.masks = masks
        self.stream_is_gone = False
        self.dropped = 0
        self._dropped_frames = metrics.sink_items_dropped.labels("websocket", "frame")
        self._dropped_others = metrics.sink_items_dropped.labels("websocket", "event")
        self._waiting: deque[tuple[bool, str]] = deque()
        self._filled = asyncio.Event()
        self._closed = False

    def give(self, text: str, *, is_frame: bool) -> None:
        """Queue a message, dropping what the bound says."""
        of_its_sort = [index for index, each in enumerate(self._waiting) if each[0] is is_frame]
        if len(of_its_sort) >= (FRAMES_PER_READER if is_frame else OTHERS_PER_READER):
            del self._waiting[of_its_sort[0]]
            self.dropped += 1
            (self._dropped_frames if is_frame else self._dropped_others).inc()
        self._waiting.append((is_frame, text))
        self._filled.set()

    def close(self) -> None:
        """End the iteration once everything that waits was taken."""
        self._closed = True
        self._filled.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.popleft()[1]


class ResultsHub:
    """Gives every reader of a stream its results, events and states. A sink."""

    name = "websocket"

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._readers: dict[str, set[ResultsReader]] = {}
        self._states: dict[str, StreamStatus] = {}
        # One thread: a sink publishes one item at a time.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="masklet-json-encode")

    async def start(self) -> None:
        """Nothing to open."""

    def wants(self, item: Published) -> bool:
        """States always; frames and events of streams that somebody reads."""
        return isinstance(item, StreamStatus) or _stream_of(item) in self._readers

    async def publish(self, item: Published) -> None:
        """Encode an item and queue it for its readers."""
        if isinstance(item, StreamStatus):
            self._remember(item)
        readers = self._readers.get(_stream_of(item), set())
        if isinstance(item, FrameResult):
            for masks in {reader.masks for reader in readers}:
                text = await self._encode_frame(item, masks)
                for reader in [each for each in readers if each.masks is masks]:
                    reader.give(text, is_frame=True)
            return
        text = _text(_event(item) if isinstance(item, StreamEvent) else _status(item))
        for reader in readers:
            reader.give(text, is_frame=False)
        if isinstance(item, StreamStatus) and item.state is StreamState.STOPPED:
            for reader in readers:
                reader.stream_is_gone = True
                reader.close()

    async def close(self) -> None:
        """End every reader."""
        self.end_readers()
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def end_readers(self) -> None:
        """Let every reader end once it has given what waits; the daemon stops."""
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    @contextmanager
    def read(self, stream_id: str, masks: JsonMasks) -> Iterator[ResultsReader]:
        """A reader until the end of the block; it ends by itself when the stream is stopped."""
        reader = ResultsReader(stream_id, masks, self._metrics)
        if (status := self._states.get(stream_id)) is not None:
            reader.give(_text(_status(status)), is_frame=False)
        readers = self._readers.setdefault(stream_id, set())
        readers.add(reader)
        try:
            yield reader
        finally:
            readers.discard(reader)
            if not readers and self._readers.get(stream_id) is readers:
                del self._readers[stream_id]

    def _remember(self, status: StreamStatus) -> None:
        self._states.pop(status.stream_id, None)
        if status.state is not StreamState.STOPPED:
            self._states[status.stream_id] = status
            if len(self._states) > STATES_KEPT:
                del self._states[next(iter(self._states))]

    async def _encode_frame(self, result: FrameResult, masks: JsonMasks) -> str:
        pixels = sum(entry.track.crop.size for entry in result.objects)
        if masks is JsonMasks.NONE or pixels <= INLINE_PIXELS:
            return self._frame_text(result, masks)
        return await asyncio.get_running_loop().run_in_executor(
            self._encoder, self._frame_text, result, masks
        )

    def _frame_text(self, result: FrameResult, masks: JsonMasks) -> str:
        return _text(encode_frame(result, masks, self._clock))


def encode_frame(result: FrameResult, masks: JsonMasks, clock: Clock) -> JsonFrame:
    """A result as it is written."""
    objects = [
        JsonObject(
            id=entry.track.object_id,
            label=entry.label,
            colour=entry.colour,
            state=entry.track.state.value,
            bbox=_box(entry.track),
            area=int(entry.track.area),
            score=_finite(entry.track.predicted_iou),
            object_score=_finite(entry.track.object_score),
            mask=encode_mask(entry.track, masks),
        )
        for entry in result.objects
    ]
    frame = result.frame
    picture = frame.picture
    arrival = picture.arrival_monotonic_ns
    return JsonFrame(
        stream_id=frame.stream_id,
        session_id=frame.session_id,
        frame_index=frame.index,
        pts=picture.pts,
        time_base=(picture.time_base.numerator, picture.time_base.denominator),
        capture_time_ns=picture.capture_time_ns,
        capture_time_ms=picture.capture_time_ns / _NANOSECONDS_PER_MILLISECOND,
        clock_source=picture.clock_source.value,
        width=picture.image.shape[1],
        height=picture.image.shape[0],
        rtp_time=rtp_time(picture),
        latency_ms=(clock.unix_ns() - picture.capture_time_ns) / _NANOSECONDS_PER_MILLISECOND,
        stage_times_ns=StageTimes(
            decoded=picture.decoded_monotonic_ns - arrival,
            started=result.started_monotonic_ns - arrival,
            tracked=result.tracked_monotonic_ns - arrival,
            published=clock.monotonic_ns() - arrival,
        ),
        dropped_since_last=dict(frame.dropped_before),
        objects=objects,
    )


def encode_mask(track: Track, masks: JsonMasks) -> RleMask | PolygonMask | None:
    """The mask of an object that is seen; None for one that is not, and for ``none``."""
    if masks is JsonMasks.NONE or track.area == 0:
        return None
    x0, y0, x1, y1 = _box(track)
    offset, size = (x0, y0), (y1 - y0, x1 - x0)
    if masks is JsonMasks.POLYGON:
        return PolygonMask(offset, size, polygon_rings(track.crop))
    return RleMask(offset, size, encode_crop(track.crop, MaskEncoding.RLE).decode("ascii"))


def _event(event: StreamEvent) -> JsonEvent:
    return JsonEvent(
        kind=event.kind.value,
        stream_id=event.stream_id,
        time_ns=event.time_ns,
        time_ms=event.time_ns / _NANOSECONDS_PER_MILLISECOND,
        reason=event.reason,
        object_id=event.object_id,
        label=event.label,
        request_id=event.request_id,
        frame_index=event.frame_index,
        detail=event.detail,
    )


def _status(status: StreamStatus) -> JsonStatus:
    return JsonStatus(
        stream_id=status.stream_id,
        state=status.state.value,
        time_ns=status.time_ns,
        time_ms=status.time_ns / _NANOSECONDS_PER_MILLISECOND,
        url=status.url,
        reason=status.reason,
        detail=status.detail,
        session_id=status.session_id,
        width=status.width,
        height=status.height,
        frames_decoded=status.frames_decoded,
        frames_tracked=status.frames_tracked,
        frames_dropped=dict(status.frames_dropped),
        connect_failures=status.connect_failures,
        object_ids=list(status.object_ids),
        paused=status.paused,
    )


def _stream_of(item: Published) -> str:
    return item.frame.stream_id if isinstance(item, FrameResult) else item.stream_id


def _text(message: JsonFrame | JsonEvent | JsonStatus) -> str:
    return msgspec.json.encode(message).decode()


def _box(track: Track) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (int(side) for side in track.box_xyxy)
    return x0, y0, x1, y1


def _finite(score: float) -> float:
    """JSON has no NaN; a decoder that gives one gives no confidence."""
    return float(score) if math.isfinite(score) else 0.0

"""A video file as a clip: its frames by number, forwards and backwards, in bounded memory.

The packets are listed once, without decoding: a frame's number is the place of its presentation
time among all. So a damaged frame keeps its number, whatever the header states, and reading can
begin at any group of pictures. Streams without usable times are counted while they are decoded,
always from their beginning.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import av.container
import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import SourceError, SourceFailure
from streamer.recorded.clip import GROUP_BYTES, K, result_name
from streamer.sources.failures import source_error
from streamer.sources.orientation import OrientationState
from streamer.sources.pixels import RgbConverter
from streamer.types import ImageArray

# 8192 × 4352, as for live sources: it bounds what a hostile file can allocate for a picture.
_MAX_PIXELS = 8192 * 4352
# No codec holds back more pictures than this: beyond, times jump and say nothing of the order.
_LONGEST_REORDERING = 32
Times = npt.NDArray[np.int64]
_Opened = tuple[av.container.InputContainer, av.VideoStream]


@dataclass(frozen=True, slots=True)
class _Listing:
    """Frames in the order shown. ``times`` is empty for a stream that is counted instead.

    ``keyframes``: numbers of the frames at which decoding can begin, from 0 on, and the time to
    seek for each. Bound: 8 bytes a frame, 1.7 MB for an hour at 60 Hz.
    """

    frames: int
    times: Times
    keyframes: Times


class VideoClip:
    """See ``clips.Clip``. Used by one thread."""

    def __init__(self, path: Path, asked_by: str = "segment") -> None:
        """Raises ``SourceError`` for what is not a file with video; it begins with ``asked_by``."""
        self.path = path
        self._asked_by = asked_by
        with self._opened() as (container, stream):
            self._listing = self._listed(container, stream)
            self._time_base = stream.time_base
            rate = stream.average_rate or stream.guessed_rate
            self._interval_s = float(1 / rate) if rate else 0.04
        self.frames = self._listing.frames
        self.width = self.height = 0
        with self._opened() as opened, closing(self._decoded(opened, 0)) as pictures:
            image = next((each for _, each in pictures if each is not None), None)
        if image is None:
            raise self._failure(
                SourceFailure.GARBAGE,
                "has no picture that can be decoded; convert it, or name a folder of its pictures",
            )
        self.height, self.width = image.shape[:2]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return result_name(self.path)

    def frame_name(self, index: int) -> str:
        """As CVAT names the frames of a video."""
        return f"frame_{index:06}.png"

    def time_s(self, index: int) -> float:
        """From the presentation times; where there are none, from the rate."""
        times = self._listing.times
        if not len(times) or self._time_base is None:
            return index * self._interval_s
        return float(int(times[index] - times[0]) * self._time_base)

    def read(
        self, start: int, *, backward: bool, keep: Callable[[ImageArray], K]
    ) -> Generator[tuple[int, K | None]]:
        """See ``Clip.read``. Backwards, one group of pictures after the other is decoded.

        Of a group that exceeds the bound, the last part is kept, and it is decoded again for the
        part before. The file is opened once: FFmpeg does not free all that an opening takes.
        """
        with self._opened() as opened:
            if backward:
                yield from self._backward(opened, start, keep)
            else:
                yield from self._complete(opened, start, self.frames, keep)

    def _backward(
        self, opened: _Opened, start: int, keep: Callable[[ImageArray], K]
    ) -> Generator[tuple[int, K | None]]:
        end = start + 1
        while end > 0:
            first = self._listing.keyframes[self._listing.keyframes < end].max(initial=0)
            group: deque[tuple[int, K | None]] = deque()
            held = 0
            for index, kept in self._complete(opened, int(first), end, keep):
                group.append((index, kept))
                held += 0 if kept is None else kept.nbytes
                while held > GROUP_BYTES and len(group) > 1:
                    _, oldest = group.popleft()
                    held -= 0 if oldest is None else oldest.nbytes
            end = group[0][0]
            while group:
                yield group.pop()

    def _complete(
        self, opened: _Opened, start: int, end: int, keep: Callable[[ImageArray], K]
    ) -> Generator[tuple[int, K | None]]:
        """The frames ``start`` to ``end`` in order, with None for each that did not decode."""
        expected = start
        with closing(self._decoded(opened, start)) as pictures:
            for index, image in pictures:
                if index < expected:
                    continue
                while expected < min(index, end):
                    yield expected, None
                    expected += 1
                if index >= end:
                    return
                yield index, None if image is None else keep(image)
                expected = index + 1
                if expected >= end:
                    return
        for index in range(expected, end):
            yield index, None

    def _decoded(self, opened: _Opened, start: int) -> Generator[tuple[int, ImageArray | None]]:
        """Numbers and pictures in order, from ``start`` or earlier; None: marked as damaged."""
        listing = self._listing
        first = int(listing.keyframes[listing.keyframes <= start].max(initial=0))
        if first and len(listing.times):
            frames = self._sought(opened, int(listing.times[first]))
            before = next(frames, None)
            # Some containers have no index, and seek to somewhere else.
            if before is not None and before[0] <= start:
                yield before
                yield from frames
                return
        with self._opened() as (container, stream):
            yield from self._frames(container, stream)

    def _sought(self, opened: _Opened, time: int) -> Generator[tuple[int, ImageArray | None]]:
        container, stream = opened
        try:
            container.seek(time, stream=stream)
        except av.FFmpegError:
            return
        yield from self._frames(container, stream)

    def _frames(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Generator[tuple[int, ImageArray | None]]:
        count = 0
        converter, orientation = RgbConverter(), OrientationState()
        times = self._listing.times
        for frame in self._raw_frames(container, stream):
            if len(times) and frame.pts is not None:
                count = int(np.searchsorted(times, frame.pts))
            if count >= self.frames:
                return
            turned = orientation.of(frame)
            try:
                image = None if frame.is_corrupt else converter.convert(frame, turned)
            except (av.FFmpegError, ValueError):
                image = None
            if image is not None and self.width and image.shape[:2] != (self.height, self.width):
                # A stream that changes its size is shown at the first one, as in players.
                image = cast(ImageArray, cv2.resize(image, (self.width, self.height)))
            yield count, image
            count += 1

    def _raw_frames(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        """What decodes; a damaged packet is left out, and the end of a cut-off file is its end."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            except (av.FFmpegError, IndexError):
                return
            yield from frames

    @contextmanager
    def _opened(self) -> Iterator[_Opened]:
        try:
            container = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise source_error(self._asked_by, str(self.path), error) from None
        with container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                has = "only sound" if container.streams.audio else "no video stream"
                raise self._failure(SourceFailure.NO_VIDEO, f"has {has}; name a file with video")
            if stream.codec_context is None:
                raise self._failure(
                    SourceFailure.CODEC, "uses a codec that this FFmpeg build cannot decode"
                )
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
            yield container, stream

    def _listed(self, container: av.container.InputContainer, stream: av.VideoStream) -> _Listing:
        """List the packets that hold a picture to show."""
        pts, keyframes = array("q"), array("q")
        has_times = True
        vp8 = stream.codec_context.name in ("vp8", "libvpx")
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, IndexError):  # a file that was cut off
                break
            if packet is None:
                break
            # VP8: bit 4 of the first byte says whether the frame is shown (RFC 6386, 9.1).
            if not packet.size or packet.is_discard or (vp8 and not memoryview(packet)[0] & 0x10):
                continue
            if packet.is_keyframe:
                keyframes.append(len(pts))
            has_times = has_times and packet.pts is not None
            pts.append(packet.pts or 0)
        if not pts:
            raise self._failure(SourceFailure.GARBAGE, "holds no picture")
        counted = _Listing(len(pts), np.zeros(0, np.int64), np.zeros(1, np.int64))
        if not has_times:
            return counted
        times = np.frombuffer(pts, np.int64)
        order = np.argsort(times, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        moved = np.abs(place - np.arange(len(order))).max()
        if moved > _LONGEST_REORDERING or not np.diff(times[order]).all():
            return counted
        return _Listing(len(pts), times[order], place[np.frombuffer(keyframes, np.int64)])

    def _failure(self, reason: SourceFailure, explanation: str) -> SourceError:
        return SourceError(reason, f"{self._asked_by}: {self.path} {explanation}")

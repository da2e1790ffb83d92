"""Reads and decodes whatever FFmpeg can open, and enforces the timeouts.

Knows no URL scheme and no clock. A container is opened, read and closed by one thread: closing
it from another crashes the process. Every wait inside FFmpeg is bounded by PyAV's interrupt
callback, and ``stop`` is checked at each packet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self, cast

import av

from streamer.errors import SourceFailure
from streamer.sources.base import SourceOutput
from streamer.sources.failures import source_error
from streamer.sources.opening import ContainerSettings, open_video
from streamer.sources.packet_decoder import DeviceFailedError, PacketDecoder
from streamer.sources.pixels import pixels_of
from streamer.types import ClockSource, DecodedFrame, DropReason, Pixels

# 8192 × 4352, the largest picture of H.264 level 6.2: it bounds what a hostile stream can allocate
# to 107 MB per picture.
_MAX_PIXELS = 8192 * 4352
# A shorter wait means that the packet had already arrived.
_SHORTEST_WAIT_S = 0.002
# Reading this long without one wait means that packets queue up, in the kernel and the camera.
_BACKLOG_AFTER_S = 2.0
# Bound for media that are read faster than real time; a camera that sends a keyframe a minute
# at 30 Hz stays below it.
_MAX_PACKETS_WITHOUT_PICTURE = 3000


class VideoContainer:
    """An open container with a video stream: a context manager, used in one thread."""

    def __init__(self, settings: ContainerSettings) -> None:
        """Open; raises ``SourceError`` as ``open_video`` does."""
        self._settings = settings
        self._container, self._stream = open_video(settings)
        # Frame threading would delay pictures by two; slice threading delays none.
        self._stream.thread_type = "SLICE"
        self._stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        try:
            self._decoder = PacketDecoder(self._stream, settings)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._decoder.close()
        self._container.close()

    @property
    def is_recorded(self) -> bool:
        """Whether the media has a known end, and may be read at any speed.

        Never RTSP: its server sets the pace, and a camera may state a wrong duration.
        """
        return bool(self._container.duration) and self._container.format.name != "rtsp"

    @property
    def is_segmented(self) -> bool:
        """Whether the media comes in files of several seconds each (HLS, DASH)."""
        return self._container.format.name in ("hls", "dash")

    @property
    def jumps_with_reports(self) -> bool:
        """Whether FFmpeg takes presentation times from a camera's sender reports.

        It does so beside a second track, to align the two.
        """
        return self._container.format.name == "rtsp" and len(self._container.streams) > 1

    @property
    def frame_interval_s(self) -> Fraction:
        """The frame interval according to the container; 1/25 s if it states none."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return 1 / Fraction(rate) if rate else Fraction(1, 25)

    def frames(
        self, output: SourceOutput, stop: threading.Event, *, is_live: bool = False
    ) -> Iterator[tuple[DecodedFrame, av.Packet[av.VideoStream]]]:
        """Decode until the media ends or ``stop`` is set: frames, each with its last packet.

        A frame's capture time is its packet's arrival.

        Lost frames are counted at ``output`` by reason. With ``is_live`` a backlog is discarded
        when decoding does not keep up: latency over completeness. Raises ``SourceError`` when no
        video came for ``read_timeout_s``, when nothing could be decoded for ``open_timeout_s``,
        or when the connection failed.
        """
        progress = _Progress()
        backlog = _Backlog() if is_live else None
        # All streams: video that stops while audio continues must be noticed.
        packets = cast("Iterator[av.Packet[av.VideoStream]]", self._container.demux())
        while not stop.is_set():
            packet = self._next_packet(packets, progress)
            if packet is None:
                break
            # Not packet.stream_index: it is 0 in the packets that flush the decoders at the end.
            if packet.stream.index != self._stream.index:
                continue
            arrival_time_ns, arrival_monotonic_ns = time.time_ns(), time.monotonic_ns()
            if backlog is not None and backlog.grows(progress.last_wait_s):
                output.dropped(DropReason.BEHIND)
                progress.keyframe_seen = False  # later packets refer to the discarded ones
                continue
            progress.packets_without_picture += 1
            for frame in self._decode(packet, output, progress):
                pixels = self._pixels(frame, output, progress)
                if pixels is None:
                    continue
                progress.picture_came()
                decoded = DecodedFrame(
                    pixels=pixels,
                    pts=frame.pts,
                    time_base=frame.time_base or packet.time_base,
                    capture_time_ns=arrival_time_ns,
                    clock_source=ClockSource.ARRIVAL,
                    arrival_time_ns=arrival_time_ns,
                    arrival_monotonic_ns=arrival_monotonic_ns,
                    decoded_monotonic_ns=time.monotonic_ns(),
                )
                yield decoded, packet
            self._check_progress(progress)
        if not stop.is_set() and not progress.pictures:
            raise self._settings.failure(
                SourceFailure.GARBAGE, "ended without one picture that could be decoded"
            )

    def _next_packet(
        self, packets: Iterator[av.Packet[av.VideoStream]], progress: _Progress
    ) -> av.Packet[av.VideoStream] | None:
        """The next packet of any stream, None at the end.

        Counts only time spent waiting here, not the time the consumer of the frames takes.
        """
        started_s = time.monotonic()
        packet = None
        failure = None
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            failure = error
        progress.waited(time.monotonic() - started_s)
        # At a timeout FFmpeg's parser first returns the picture it holds.
        if progress.waited_for_video_s >= self._settings.read_timeout_s:
            raise self._settings.failure(
                SourceFailure.TIMEOUT,
                f"sent no video for {self._settings.read_timeout_s:.1f} s (read_timeout_s)",
            )
        if failure is not None:
            raise source_error(self._settings.stream_id, self._settings.redacted_url, failure)
        if packet is not None and packet.stream.index == self._stream.index:
            progress.waited_for_video_s = 0.0
        return packet

    def _decode(
        self, packet: av.Packet[av.VideoStream], output: SourceOutput, progress: _Progress
    ) -> list[av.VideoFrame]:
        """The undamaged pictures that ``packet`` completed."""
        is_flush = not packet.size
        progress.keyframe_seen = progress.keyframe_seen or packet.is_keyframe
        if not progress.keyframe_seen:
            if not is_flush:
                output.dropped(DropReason.NO_KEYFRAME)
            return []
        try:
            frames = self._decoder.decode(packet)
        except (av.FFmpegError, DeviceFailedError) as error:
            progress.keyframe_seen = not isinstance(error, DeviceFailedError)
            if not is_flush:
                output.dropped(DropReason.DECODE_ERROR)
                progress.decode_errors += 1
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        if len(whole) < len(frames):
            output.dropped(DropReason.CORRUPT, len(frames) - len(whole))
        return whole

    def _pixels(
        self, frame: av.VideoFrame, output: SourceOutput, progress: _Progress
    ) -> Pixels | None:
        try:
            return pixels_of(frame, self._decoder.orientation(frame))
        except av.FFmpegError:
            output.dropped(DropReason.DECODE_ERROR)
            progress.decode_errors += 1
            return None

    def _check_progress(self, progress: _Progress) -> None:
        """Raise for a sender of packets that yield no picture."""
        limit_s = self._settings.open_timeout_s
        packets = progress.packets_without_picture
        if progress.waited_for_picture_s < limit_s and packets < _MAX_PACKETS_WITHOUT_PICTURE:
            return
        # Without a width, not even the stream's parameters could be parsed.
        if progress.decode_errors or not self._stream.codec_context.width:
            raise self._settings.failure(
                SourceFailure.GARBAGE,
                f"sent {packets} packets and none could be decoded; check the camera's codec "
                "settings",
            )
        raise self._settings.failure(
            SourceFailure.TIMEOUT,
            f"sent no keyframe in {limit_s:.1f} s; let the camera send them more often, or "
            "raise open_timeout_s",
        )


@dataclass(slots=True)
class _Progress:
    """Packets and pictures received so far, and the time spent waiting for them."""

    keyframe_seen: bool = False
    pictures: int = 0
    packets_without_picture: int = 0
    decode_errors: int = 0
    last_wait_s: float = 0.0
    waited_for_video_s: float = 0.0
    waited_for_picture_s: float = 0.0

    def waited(self, duration_s: float) -> None:
        self.last_wait_s = duration_s
        self.waited_for_video_s += duration_s
        self.waited_for_picture_s += duration_s

    def picture_came(self) -> None:
        self.pictures += 1
        self.packets_without_picture = 0
        self.decode_errors = 0
        self.waited_for_picture_s = 0.0


class _Backlog:
    """Detects that packets come faster than they are decoded.

    The sign is that reading never waits; a comparison of presentation times with the clock would
    mistake a drifting camera clock for a backlog.
    """

    def __init__(self) -> None:
        self._last_wait_at_s = time.monotonic()
        self._is_draining = False

    def grows(self, waited_s: float) -> bool:
        """Whether to discard this packet, for which the reader waited ``waited_s``."""
        now_s = time.monotonic()
        if waited_s >= _SHORTEST_WAIT_S:
            self._last_wait_at_s = now_s
            self._is_draining = False
        elif now_s - self._last_wait_at_s > _BACKLOG_AFTER_S:
            self._is_draining = True
        return self._is_draining

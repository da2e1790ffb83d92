"""Reads and decodes whatever FFmpeg can open, and enforces the timeouts.

Knows no URL scheme and no clock. A container is opened, read and closed by one thread: closing
it from another crashes the process. ``ReadDeadline`` bounds every wait inside FFmpeg.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Self, TypeAlias, cast

import av

from streamer.errors import SourceError, SourceFailure
from streamer.runtime.logs import stream_logger
from streamer.sources.backlog import Backlog
from streamer.sources.base import SourceOutput
from streamer.sources.failures import source_error
from streamer.sources.opening import (
    TRACKS_APPEAR_LATER,
    ContainerSettings,
    has_decoder,
    open_video,
)
from streamer.sources.packet_decoder import DeviceFailedError, PacketDecoder
from streamer.sources.pixels import pixels_of
from streamer.sources.progress import Progress, no_picture, nothing_came
from streamer.sources.read_deadline import ReadDeadline
from streamer.types import ClockSource, DecodedFrame, DropReason, Pixels

# 8192 × 4352, the largest picture of H.264 level 6.2: it bounds what a hostile stream can allocate
# to 107 MB per picture.
_MAX_PIXELS = 8192 * 4352
# Reading this long almost without waiting: packets queue up, in the kernel and the camera.
_BACKLOG_AFTER_S = 2.0
# Bound for media that are read faster than real time; a camera that sends a keyframe a minute
# at 30 Hz stays below it.
_MAX_PACKETS_WITHOUT_PICTURE = 3000
# Cameras set the pace, whatever length they state.
_NEVER_RECORDED = ("rtsp", "mpjpeg")
_PLAYLISTS = ("hls", "dash")
_Packet: TypeAlias = "av.Packet[av.VideoStream]"
_logger = logging.getLogger(__name__)


class VideoContainer:
    """An open container with a video stream: a context manager, used in one thread."""

    def __init__(self, settings: ContainerSettings, deadline: ReadDeadline) -> None:
        """Open; raises ``SourceError`` as ``open_video`` does."""
        self._settings = settings
        self._deadline = deadline
        self._log = stream_logger(_logger, settings.stream_id)
        self._open(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def is_recorded(self) -> bool:
        """Whether the media has a known end, and may be read at any speed.

        A stated duration proves nothing: cameras and relays state one in live streams.
        """
        name = self._container.format.name
        if name in _PLAYLISTS:
            return bool(self._container.duration)
        has_length = self._container.size > 0 or self._settings.has_length()
        return name not in _NEVER_RECORDED and has_length

    @property
    def is_segmented(self) -> bool:
        """Whether the media comes in files of several seconds each (HLS, DASH)."""
        return self._container.format.name in _PLAYLISTS

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
    ) -> Iterator[tuple[DecodedFrame, _Packet]]:
        """Decode until the media ends or ``stop`` is set: frames, each with its last packet.

        A frame's capture time is its packet's arrival.

        Lost frames are counted at ``output`` by reason. With ``is_live`` a backlog is discarded
        when decoding does not keep up: latency over completeness. Of a file that was joined of
        several, all are read. Raises ``SourceError`` when the first picture does not come within
        ``open_timeout_s``, or a later one within ``read_timeout_s``, and when the connection
        failed.
        """
        position: int | None = 0
        while position is not None:
            progress = Progress(self._container)
            backlog = Backlog(_BACKLOG_AFTER_S) if is_live else None
            yield from self._track(output, stop, progress, backlog)
            if stop.is_set():
                return
            if not progress.pictures and not position:
                raise nothing_came(self._settings, progress)
            position = progress.next_piece
            if position is None and progress.unread_bytes:
                self._log.warning("%d bytes at the end were not read", progress.unread_bytes)
            if position is not None and not self._goes_on(position):
                return

    def _open(self, position: int) -> None:
        self._container, self._stream = open_video(self._settings, self._deadline, position)
        try:
            self._decoder = self._decoder_of(self._stream)
        except BaseException:
            self._container.close()
            raise

    def _goes_on(self, position: int) -> bool:
        """Open what follows in the file; False if it is no video."""
        self._close()
        try:
            self._open(position)
        except SourceError as error:
            self._log.warning("what follows byte %d was not read: %s", position, error.reason)
            return False
        return True

    def _close(self) -> None:
        self._decoder.close()
        self._container.close()

    def _decoder_of(self, stream: av.VideoStream) -> PacketDecoder:
        # Frame threading would delay pictures by two; slice threading delays none.
        stream.thread_type = "SLICE"
        stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        return PacketDecoder(stream, self._settings)

    def _track(
        self,
        output: SourceOutput,
        stop: threading.Event,
        progress: Progress,
        backlog: Backlog | None,
    ) -> Iterator[tuple[DecodedFrame, _Packet]]:
        """The frames of one track of video."""
        # All tracks: video that stops while audio continues must be noticed.
        packets = cast("Iterator[_Packet]", self._container.demux())
        self._deadline.allow(self._settings.open_timeout_s)
        while not stop.is_set():
            packet, waited_s = self._next_packet(packets, progress, stop)
            if packet is None:
                break
            is_behind = backlog is not None and backlog.grows(waited_s)
            if not self._is_ours(packet, progress):
                continue
            arrival_time_ns, arrival_monotonic_ns = time.time_ns(), time.monotonic_ns()
            if is_behind:
                output.dropped(DropReason.BEHIND)
                progress.keyframe_seen = False  # later packets refer to the discarded ones
                continue
            for frame in self._decode(packet, output, progress):
                pixels = self._pixels(frame, output, progress)
                if pixels is None:
                    continue
                if not progress.picture_came():
                    output.dropped(DropReason.CORRUPT)
                    continue
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
                self._deadline.allow(self._settings.read_timeout_s)
                with self._deadline.paused():
                    yield decoded, packet
            if progress.packets_without_picture >= _MAX_PACKETS_WITHOUT_PICTURE:
                raise no_picture(self._settings, progress, self._stream)
        if progress.undecoded and not stop.is_set():
            output.dropped(DropReason.DECODE_ERROR, progress.undecoded)

    def _next_packet(
        self, packets: Iterator[_Packet], progress: Progress, stop: threading.Event
    ) -> tuple[_Packet | None, float]:
        """The next packet of any track, None at the end; and how long it was waited for."""
        began_s, worked_s = time.monotonic(), time.thread_time()
        packet: _Packet | None = None
        failure: SourceError | None = None
        try:
            packet = next(packets, None)
        except IndexError:
            pass  # how PyAV ends after media that gained tracks
        except Exception as error:  # whatever a library raises is a fault of this source
            failure = source_error(self._settings.stream_id, self._settings.redacted_url, error)
        waited_s = time.monotonic() - began_s - (time.thread_time() - worked_s)
        if stop.is_set():
            return None, waited_s
        # At a timeout FFmpeg's parser first returns the picture it holds.
        if self._deadline.has_passed:
            if progress.next_piece is not None:
                return None, waited_s
            raise no_picture(self._settings, progress, self._stream)
        if failure is not None:
            if progress.pictures and failure.reason is SourceFailure.UNREACHABLE:
                raise self._settings.failure(SourceFailure.ENDED, "ended the stream")
            raise failure
        return packet, waited_s

    def _is_ours(self, packet: _Packet, progress: Progress) -> bool:
        """Whether to decode this packet.

        Where tables may name tracks of video that send nothing, the first that does is decoded.
        """
        # Not packet.stream_index: it is 0 in the packets that flush the decoders at the end.
        stream = packet.stream
        if (
            not progress.packets
            and packet.size
            and self._container.format.name in TRACKS_APPEAR_LATER
            and isinstance(stream, av.VideoStream)
            and has_decoder(stream)
            and stream.index != self._stream.index
        ):
            self._decoder.close()
            self._stream, self._decoder = stream, self._decoder_of(stream)
        is_ours = stream.index == self._stream.index
        progress.packet_came(packet, is_ours=is_ours)
        return is_ours

    def _decode(
        self, packet: _Packet, output: SourceOutput, progress: Progress
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
                progress.failed()
            return []
        if not is_flush or frames:
            progress.decoded(len(frames))
        whole = [frame for frame in frames if not frame.is_corrupt]
        for _ in range(len(frames) - len(whole)):
            output.dropped(DropReason.CORRUPT)
            progress.failed()
        return whole

    def _pixels(
        self, frame: av.VideoFrame, output: SourceOutput, progress: Progress
    ) -> Pixels | None:
        try:
            return pixels_of(frame, self._decoder.orientation(frame))
        except (av.FFmpegError, ValueError):
            output.dropped(DropReason.DECODE_ERROR)
            progress.failed()
            return None

"""From encoded pictures of a WebRTC peer to decoded frames, in the source's thread.

Every picture is decoded as it comes, because later ones refer to it; the frame slot selects those
that are tracked. After a picture that does not decode, the peer is asked for a keyframe.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import cast

import av

from streamer.errors import SourceError, SourceFailure
from streamer.sources.base import SourceOutput
from streamer.sources.orientation import OrientationState
from streamer.sources.pixels import pixels_of
from streamer.sources.presentation_time import DiscontinuityWatch
from streamer.types import ClockSource, DecodedFrame, DropReason
from streamer.webrtc.encoded_feed import EncodedFeed, FeedEnd
from streamer.webrtc.frame_assembler import EncodedPicture
from streamer.webrtc.rtp_clock import VIDEO_TIME_BASE, rtp_difference

# How soon ``stop`` is noticed while no picture comes.
POLL_S = 0.1
# 4K, not the 8K of other sources: a publisher declares its picture size in 100 bytes, and each
# picture of 8192 × 4352 costs 0.2 s and 100 MB.
_MAX_PIXELS = 4096 * 2304
_DECODERS = {"VP8": "vp8", "H264": "h264"}
_logger = logging.getLogger(__name__)


class EncodedPictureReader:
    """Reads one feed to its end. One thread."""

    def __init__(
        self, stream_id: str, feed: EncodedFeed, open_timeout_s: float, read_timeout_s: float
    ) -> None:
        """The peer is disconnected if no picture decodes for so long: the first, and later ones."""
        self._stream_id = stream_id
        self._feed = feed
        self._timeout_s, self._timeout_setting = open_timeout_s, "open_timeout_s"
        self._read_timeout_s = read_timeout_s
        self._watch = DiscontinuityWatch()
        self._orientation = OrientationState()
        self._decoder: av.VideoCodecContext | None = None
        self._codec_name = ""
        self._needs_keyframe = True
        self._last_timestamp: int | None = None
        self._presentation_time = 0
        self._undecoded_since_s: float | None = None
        self._warned_of_clock = self._warned_of_parameter_sets = False

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver until ``stop``. Raises ``SourceError`` with the reason when the feed ends."""
        while not stop.is_set():
            picture = self._feed.get(POLL_S)
            self._count_missed(output)
            if picture is not None:
                self._take(picture, output)
            elif self._feed.end is not None:
                raise self._ended(self._feed.end)
            self._check_progress()

    def _take(self, picture: EncodedPicture, output: SourceOutput) -> None:
        self._something_came()
        if self._needs_keyframe and not picture.is_keyframe:
            output.dropped(DropReason.NO_KEYFRAME)
            self._feed.request_keyframe()
            return
        self._needs_keyframe = False
        pts = self._unwrapped(picture.timestamp)
        for frame in self._decode(picture, pts, output):
            self._deliver(frame, picture, output)

    def _decode(
        self, picture: EncodedPicture, pts: int, output: SourceOutput
    ) -> list[av.VideoFrame]:
        if self._decoder is None or picture.codec_name != self._codec_name:
            self._codec_name = picture.codec_name
            self._decoder = _make_decoder(picture.codec_name)
            if picture.codec_name == "H264":
                self._begin_with_parameter_sets(self._decoder)
        packet = cast("av.Packet[av.VideoStream]", av.Packet(picture.data))
        packet.pts = packet.dts = pts
        packet.time_base = VIDEO_TIME_BASE
        try:
            frames = self._decoder.decode(packet)
        except av.FFmpegError:
            output.dropped(DropReason.DECODE_ERROR)
            self._start_again()
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        if len(whole) < len(frames):
            output.dropped(DropReason.CORRUPT, len(frames) - len(whole))
            self._start_again()
        return whole

    def _begin_with_parameter_sets(self, decoder: av.VideoCodecContext) -> None:
        """Those of the description, until others come in the stream."""
        sets = self._feed.parameter_sets
        if sets.data:
            decoder.extradata = sets.data
        if sets.problem is not None and not self._warned_of_parameter_sets:
            self._warned_of_parameter_sets = True
            _logger.warning(
                "%s: sprop-parameter-sets in the peer's description is ignored: %s",
                self._stream_id,
                sets.problem,
            )

    def _deliver(self, frame: av.VideoFrame, picture: EncodedPicture, output: SourceOutput) -> None:
        pts = self._presentation_time if frame.pts is None else frame.pts
        problem = self._watch.observe(
            float(pts * VIDEO_TIME_BASE), picture.arrival_monotonic_ns / 1e9
        )
        if problem is not None:
            self._feed.clock.forget()
            output.reset(problem)
        try:
            pixels = pixels_of(frame, self._orientation.of(frame))
        except av.FFmpegError:
            output.dropped(DropReason.DECODE_ERROR)
            return
        self._warn_of_clock()
        self._undecoded_since_s = None
        self._timeout_s, self._timeout_setting = self._read_timeout_s, "read_timeout_s"
        decoded = DecodedFrame(
            pixels=pixels,
            pts=pts,
            time_base=VIDEO_TIME_BASE,
            capture_time_ns=picture.arrival_time_ns,
            clock_source=ClockSource.ARRIVAL,
            arrival_time_ns=picture.arrival_time_ns,
            arrival_monotonic_ns=picture.arrival_monotonic_ns,
            decoded_monotonic_ns=time.monotonic_ns(),
        )
        output.frame(self._feed.clock.stamped(decoded))

    def _unwrapped(self, timestamp: int) -> int:
        """RTP's 32-bit timestamp, which wraps every 13 hours, as a growing number."""
        if self._last_timestamp is None:
            self._presentation_time = timestamp
        else:
            self._presentation_time += rtp_difference(timestamp, self._last_timestamp)
        self._last_timestamp = timestamp
        return self._presentation_time

    def _start_again(self) -> None:
        """Decode from the next keyframe on: the references are damaged."""
        self._decoder = None
        self._needs_keyframe = True
        self._feed.request_keyframe()

    def _count_missed(self, output: SourceOutput) -> None:
        without_keyframe, behind = self._feed.take_missed()
        if without_keyframe or behind:
            self._something_came()
        if without_keyframe:
            output.dropped(DropReason.NO_KEYFRAME, without_keyframe)
        if behind:
            output.dropped(DropReason.BEHIND, behind)
            self._needs_keyframe = True

    def _something_came(self) -> None:
        if self._undecoded_since_s is None:
            self._undecoded_since_s = time.monotonic()

    def _check_progress(self) -> None:
        """Disconnect a peer that sends data but no pictures; ``MediaWatch`` handles silence."""
        since_s = self._undecoded_since_s
        if since_s is None or time.monotonic() - since_s < self._timeout_s:
            return
        end = FeedEnd(
            SourceFailure.GARBAGE,
            f"the peer sent no decodable picture for {self._timeout_s:.1f} s "
            f"({self._timeout_setting})",
        )
        self._feed.stop(end)
        raise self._ended(end)

    def _ended(self, end: FeedEnd) -> SourceError:
        return SourceError(end.reason, f"{self._stream_id}: {end.message}")

    def _warn_of_clock(self) -> None:
        """Warn once per connection: a sender's clock stays wrong until it is set."""
        implausible_by_s = self._feed.clock.implausible_by_s
        if implausible_by_s is not None and not self._warned_of_clock:
            self._warned_of_clock = True
            _logger.warning(
                "%s: the sender's clock is off by %.0f s and is not used",
                self._stream_id,
                implausible_by_s,
            )


def _make_decoder(codec_name: str) -> av.VideoCodecContext:
    """One thread: more would delay pictures. FFmpeg's VP8 decoder follows size changes."""
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(_DECODERS[codec_name], "r"))
    decoder.options = {"max_pixels": str(_MAX_PIXELS)}
    decoder.thread_count = 1
    return decoder

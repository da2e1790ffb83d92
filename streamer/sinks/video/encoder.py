"""One video encoder: pictures in, packets with their 90 kHz time out."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias, cast

import av
import cv2
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from streamer.types import ImageArray
from streamer.webrtc.rtp_clock import VIDEO_CLOCK_HZ, VIDEO_TIME_BASE

VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"


class PictureCodec(StrEnum):
    """The codecs for viewers, in order of preference: every browser decodes VP8."""

    VP8 = "vp8"
    H264 = "h264"


# A viewer that keeps asking for keyframes must not degrade the picture of all others.
KEYFRAME_REQUEST_INTERVAL_S = 0.5
# Keyframes are timed by us; the codec's own frame interval is never reached.
_NO_OWN_KEYFRAMES = 1_000_000


class VideoEncoder:
    """Encodes for live viewing: no look-ahead, no B-frames, constant bitrate.

    A picture of another size starts a new sequence with a keyframe. For one thread, but
    ``request_keyframe`` may be called from any.
    """

    def __init__(
        self, codec: PictureCodec, *, bitrate_bps: int, keyframe_interval_s: float, rate_hz: float
    ) -> None:
        """``rate_hz`` is the rate to expect, for the encoder's rate control."""
        self._codec = codec
        self._bitrate_bps = bitrate_bps
        self._keyframe_interval = round(keyframe_interval_s * VIDEO_CLOCK_HZ)
        self._request_interval = round(KEYFRAME_REQUEST_INTERVAL_S * VIDEO_CLOCK_HZ)
        self._rate_hz = Fraction(rate_hz).limit_denominator(1000)
        self._context: VideoCodecContext | None = None
        self._origin = 0  # codecs count from 0: the monotonic clock does not fit all of them
        self._last_ticks = 0
        self._last_keyframe = 0
        self._requested = False

    def request_keyframe(self) -> None:
        """Make a coming picture a keyframe, ``KEYFRAME_REQUEST_INTERVAL_S`` after the last one."""
        self._requested = True

    def encode(self, image: ImageArray, ticks: int) -> list[VideoPacket]:
        """The packets of an RGB picture of even sides; their ``pts`` is ``ticks`` (90 kHz).

        Empty for a picture that is not later than the one before: RTP time does not go back.
        """
        height, width = image.shape[:2]
        context = self._context
        if context is None or (context.width, context.height) != (width, height):
            context = self._context = self._open(width, height)
            self._origin = ticks
        elif ticks <= self._last_ticks:
            return []
        self._last_ticks = ticks
        planes = cast(ImageArray, cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420))
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = ticks - self._origin
        frame.time_base = VIDEO_TIME_BASE
        frame.pict_type = PictureType.I if self._keyframe_is_due(ticks) else PictureType.NONE
        packets = context.encode(frame)
        for packet in packets:
            packet.pts = (packet.pts or 0) + self._origin
            packet.dts = packet.pts
            packet.time_base = VIDEO_TIME_BASE
            if packet.is_keyframe:
                self._last_keyframe = ticks
        return packets

    def _keyframe_is_due(self, ticks: int) -> bool:
        if ticks == self._origin:
            self._requested = False
            return True
        since = ticks - self._last_keyframe
        if self._requested and since >= self._request_interval:
            self._requested = False
            return True
        return since >= self._keyframe_interval

    def _open(self, width: int, height: int) -> VideoCodecContext:
        name = "libvpx" if self._codec is PictureCodec.VP8 else "libx264"
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width = width
        context.height = height
        context.pix_fmt = "yuv420p"
        context.time_base = VIDEO_TIME_BASE
        context.framerate = self._rate_hz
        context.bit_rate = self._bitrate_bps
        context.gop_size = _NO_OWN_KEYFRAMES
        # One core per picture: two cores serve all streams and the tracker.
        context.thread_count = 1
        if self._codec is PictureCodec.VP8:
            context.qmin = 2
            context.qmax = 56
            context.options = _vp8_options(self._bitrate_bps)
        else:
            context.max_b_frames = 0
            context.profile = "Baseline"
            context.options = _h264_options(self._bitrate_bps)
        return context


def _vp8_options(bitrate_bps: int) -> dict[str, str]:
    bitrate = str(bitrate_bps)
    return {
        "deadline": "realtime",
        # Mean of a 1280 x 720 match at 1.5 Mb/s: -6 7.0 ms, -8 6.2, -12 5.7, -16 5.2; PSNR 28.9,
        # 28.8, 28.7, 29.0 dB. aiortc's denoiser (noise-sensitivity 4) costs 2 ms more.
        "cpu-used": "-12",
        "lag-in-frames": "0",
        # Equal bounds make the bitrate constant; the buffer is half a second, so that a keyframe
        # does not delay what follows it.
        "minrate": bitrate,
        "maxrate": bitrate,
        "bufsize": str(bitrate_bps // 2),
        # A keyframe takes at most 9 times its share, as Chromium limits it: receivers keep 128
        # packets of a picture (aiortc), and a burst is what a network drops.
        "max-intra-rate": "900",
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "static-thresh": "1",
    }


def _h264_options(bitrate_bps: int) -> dict[str, str]:
    return {
        # 4.3 ms a 1280 x 720 picture.
        "preset": "ultrafast",
        "tune": "zerolatency",
        "forced-idr": "1",
        "maxrate": str(bitrate_bps),
        "bufsize": str(bitrate_bps // 2),
    }

"""The 90 kHz time of a frame, by which a page finds the JSON of the picture it shows."""

from __future__ import annotations

from fractions import Fraction

from streamer.types import DecodedFrame

# RFC 7741 (VP8) and RFC 6184 (H.264): the RTP clock of video.
VIDEO_CLOCK_HZ = 90_000
VIDEO_TIME_BASE = Fraction(1, VIDEO_CLOCK_HZ)
_NANOSECONDS = 1_000_000_000


def video_ticks(picture: DecodedFrame) -> int:
    """When the picture arrived, in 90 kHz ticks of the monotonic clock.

    Not the capture time: that one steps when the first sender report corrects it, and a player
    holds or drops pictures whose RTP time goes back.
    """
    return picture.arrival_monotonic_ns * VIDEO_CLOCK_HZ // _NANOSECONDS


def rtp_time(picture: DecodedFrame) -> int:
    """``video_ticks`` as the 32 bits of an RTP timestamp, before the sender's random offset."""
    return video_ticks(picture) & 0xFFFF_FFFF

"""RTP time of video: its 90 kHz ticks, and the capture time that sender reports map them to.

A sender report (RFC 3550, section 6.4.1) states which NTP time an RTP time of its sender belongs
to. All NTP arithmetic is here. A sender's clock may be wrong, so a mapping that differs too much
from the time of arrival is ignored.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from streamer.runtime.clock import NANOSECONDS_PER_SECOND
from streamer.types import ClockSource, DecodedFrame

# RFC 7741 (VP8) and RFC 6184 (H.264): the RTP clock of video.
VIDEO_CLOCK_HZ = 90_000
VIDEO_TIME_BASE = Fraction(1, VIDEO_CLOCK_HZ)
_NTP_TO_UNIX_S = 2_208_988_800  # from 1900 to 1970


class RtpCaptureClock:
    """Maps RTP timestamps to the sender's wall clock, if that is plausible.

    A clock further than ``tolerance_s`` from ours is not used; ``implausible_by_s`` is then its
    difference. The event loop or FFmpeg's reader writes it, a source's thread reads it: each
    access is one assignment.
    """

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_ns = round(tolerance_s * NANOSECONDS_PER_SECOND)
        self._mapping: tuple[int, int] | None = None  # RTP timestamp, Unix ns
        self.implausible_by_s: float | None = None

    def observe(self, reported_ns: int, rtp_timestamp: int, arrival_time_ns: int) -> None:
        """Record that the sender's clock (Unix time) read ``reported_ns`` at ``rtp_timestamp``.

        ``arrival_time_ns`` (Unix time) is when this was received.
        """
        difference_ns = reported_ns - arrival_time_ns
        if abs(difference_ns) > self._tolerance_ns:
            self._mapping = None
            self.implausible_by_s = difference_ns / NANOSECONDS_PER_SECOND
            return
        self.implausible_by_s = None
        self._mapping = (rtp_timestamp, reported_ns)

    def capture_time_ns(
        self, rtp_timestamp: int, time_base: Fraction = VIDEO_TIME_BASE
    ) -> int | None:
        """Unix time at which the frame of ``rtp_timestamp`` was captured; None where unknown.

        ``rtp_timestamp`` may have more than RTP's 32 bits; it must lie within 6 hours of the
        newest report.
        """
        mapping = self._mapping
        if mapping is None:
            return None
        ticks = rtp_difference(rtp_timestamp, mapping[0])
        scale = NANOSECONDS_PER_SECOND * time_base.numerator
        return mapping[1] + ticks * scale // time_base.denominator

    def stamped(self, frame: DecodedFrame) -> DecodedFrame:
        """``frame`` with its sender's capture time; unchanged where that is unknown."""
        if frame.pts is None:
            return frame
        capture_time_ns = self.capture_time_ns(frame.pts, frame.time_base)
        if capture_time_ns is None:
            return frame
        return replace(frame, capture_time_ns=capture_time_ns, clock_source=ClockSource.RTCP_SR)

    def forget(self) -> None:
        """Discard the mapping: RTP time was reset, so the next report counts."""
        self._mapping = None


def ntp_to_unix_ns(ntp_timestamp: int) -> int:
    """Nanoseconds since 1970 of a 64-bit NTP timestamp: 32 bits of seconds, 32 of a fraction.

    NTP's seconds wrap in 2036; times before 1968 belong to the second era (RFC 5905, section 6).
    """
    seconds, fraction = ntp_timestamp >> 32, ntp_timestamp & 0xFFFFFFFF
    era_s = 0 if seconds & 0x80000000 else 1 << 32
    nanoseconds = (fraction * NANOSECONDS_PER_SECOND + (1 << 31)) >> 32
    return (seconds + era_s - _NTP_TO_UNIX_S) * NANOSECONDS_PER_SECOND + nanoseconds


def rtp_difference(later: int, earlier: int) -> int:
    """``later - earlier`` of RTP timestamps modulo 2^32, the shorter way round."""
    return ((later - earlier + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def video_ticks(frame: DecodedFrame) -> int:
    """The frame's arrival in 90 kHz ticks of the monotonic clock.

    Not its capture time: that steps when the first sender report corrects it, and a player
    holds or drops frames whose RTP time goes back.
    """
    return frame.arrival_monotonic_ns * VIDEO_CLOCK_HZ // NANOSECONDS_PER_SECOND


def rtp_time(frame: DecodedFrame) -> int:
    """``video_ticks`` as the 32 bits of an RTP timestamp, before the sender's random offset."""
    return video_ticks(frame) & 0xFFFF_FFFF

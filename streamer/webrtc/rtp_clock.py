"""RTP time of video: its 90 kHz ticks, and the capture time that sender reports map them to.

A sender report (RFC 3550, section 6.4.1) states which NTP time an RTP time of its sender belongs
to. All NTP arithmetic is here. A sender's clock may be wrong, so one that differs too much from
the time of arrival is not used; and what is made of it never runs backwards.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from streamer.runtime.clock import NANOSECONDS_PER_SECOND, ns_to_seconds, seconds_to_ns
from streamer.types import ClockSource, DecodedFrame
from streamer.webrtc.report_line import Report, ReportLine

# RFC 7741 (VP8) and RFC 6184 (H.264): the RTP clock of video.
VIDEO_CLOCK_HZ = 90_000
VIDEO_TIME_BASE = Fraction(1, VIDEO_CLOCK_HZ)
_NTP_TO_UNIX_S = 2_208_988_800  # from 1900 to 1970
# A clock comes into use up to this share of the tolerance, and stays in use up to all of it.
_COMES_INTO_USE = 0.9
# While it is ahead of the right one, capture time runs at this share of real time.
_WAITING_SHARE = 4


class _Mapping(NamedTuple):
    """RTP time to the sender's clock: the time at one timestamp, and the drift from there on."""

    timestamp: int
    unix_ns: int
    drift: float

    def unix_ns_at(self, timestamp: int, time_base: Fraction) -> int:
        ticks = rtp_difference(timestamp, self.timestamp)
        elapsed_ns = ticks * NANOSECONDS_PER_SECOND * time_base.numerator // time_base.denominator
        return self.unix_ns + elapsed_ns + round(elapsed_ns * self.drift)


class _Stamp(NamedTuple):
    """The capture time of the last frame, with its source, and when the frame arrived."""

    time_ns: int
    monotonic_ns: int
    source: ClockSource


class RtpCaptureClock:
    """Maps RTP timestamps to the sender's wall clock, if that is plausible.

    A clock further than ``tolerance_s`` from ours is not used; ``implausible_by_s`` is then its
    difference, judged by the report of the last 8 that arrived with the least delay. The event
    loop or FFmpeg's reader reports, a source's thread stamps its frames.
    """

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_ns = seconds_to_ns(tolerance_s)
        self._reporting = threading.Lock()
        self._mapping: _Mapping | None = None  # one assignment: read without the lock
        self.implausible_by_s: float | None = None
        self._last: _Stamp | None = None
        self._origin: tuple[int, int] | None = None  # the first report's RTP timestamp, Unix ns
        self._begin()

    def observe(self, reported_ns: int, rtp_timestamp: int, arrival_time_ns: int) -> None:
        """Record that the sender's clock (Unix time) read ``reported_ns`` at ``rtp_timestamp``.

        ``arrival_time_ns`` (Unix time) is when this was received.
        """
        with self._reporting:
            if self._origin is None:
                self._origin = (rtp_timestamp, reported_ns)
                self._newest = rtp_timestamp
            unwrapped = self._newest + rtp_difference(rtp_timestamp, self._newest)
            media_ns = (unwrapped - self._origin[0]) * NANOSECONDS_PER_SECOND // VIDEO_CLOCK_HZ
            clock_ns = reported_ns - self._origin[1]
            report = Report(ns_to_seconds(media_ns), ns_to_seconds(clock_ns - media_ns))
            if not self._line.add(report):
                return
            self._newest = unwrapped
            self._began_ns.append(arrival_time_ns - media_ns)
            offset_ns = self._origin[1] + seconds_to_ns(self._line.offset_s(report.media_s))
            mapping = _Mapping(rtp_timestamp, media_ns + offset_ns, self._line.drift)
            self._judge(mapping, offset_ns - min(self._began_ns))

    def capture_time_ns(
        self, rtp_timestamp: int, time_base: Fraction = VIDEO_TIME_BASE
    ) -> int | None:
        """Unix time at which the frame of ``rtp_timestamp`` was captured; None where unknown.

        ``rtp_timestamp`` may have more than RTP's 32 bits; it must lie within 6 hours of the
        newest report.
        """
        mapping = self._mapping
        return None if mapping is None else mapping.unix_ns_at(rtp_timestamp, time_base)

    def stamped(self, frame: DecodedFrame) -> DecodedFrame:
        """``frame`` with its sender's capture time; its own where that is unknown.

        Either never runs backwards: where the right time is behind the last frame's, capture time
        goes on at a quarter of real time until the right time has caught up.
        """
        mapping, last = self._mapping, self._last
        time_ns, source = frame.capture_time_ns, frame.clock_source
        now_ns = frame.arrival_monotonic_ns
        if mapping is not None and frame.pts is not None:
            time_ns = mapping.unix_ns_at(frame.pts, frame.time_base)
            source = ClockSource.RTCP_SR
        if last is not None:
            elapsed_ns = now_ns - last.monotonic_ns
            if mapping is not None and frame.pts is None:
                time_ns, source = last.time_ns + elapsed_ns, last.source
            if time_ns <= last.time_ns:
                time_ns = last.time_ns + max(1, elapsed_ns // _WAITING_SHARE)
        self._last = _Stamp(time_ns, now_ns, source)
        return replace(frame, capture_time_ns=time_ns, clock_source=source)

    def forget(self) -> None:
        """RTP time was reset: the next report counts, and capture time may begin anew."""
        with self._reporting:
            self._begin()
            self._mapping = None
        self._last = None

    def _begin(self) -> None:
        self._line = ReportLine()
        self._origin = None
        self._newest = 0
        self._began_ns: deque[int] = deque(maxlen=8)  # our time of the first report, by each

    def _judge(self, mapping: _Mapping, ahead_ns: int) -> None:
        """Use the sender's clock, or not: with hysteresis, so that it does not flicker."""
        share = _COMES_INTO_USE if self._mapping is None else 1.0
        is_plausible = abs(ahead_ns) <= share * self._tolerance_ns
        self._mapping = mapping if is_plausible else None
        self.implausible_by_s = None if is_plausible else ns_to_seconds(ahead_ns)


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

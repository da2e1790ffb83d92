"""All arithmetic with NTP time: from RTCP sender reports (RFC 3550, section 6.4.1) to capture time.

A sender report says which NTP time its sender's RTP time belongs to. The clock of a sender may
be wrong, so what differs too much from the time of arrival is not believed.
"""

from __future__ import annotations

NANOSECONDS_PER_SECOND = 1_000_000_000
VIDEO_CLOCK_HZ = 90_000
_NTP_TO_UNIX_S = 2_208_988_800  # from 1900 to 1970


def ntp_to_unix_ns(ntp_timestamp: int) -> int:
    """Nanoseconds since 1970 of a 64-bit NTP timestamp: 32 bits of seconds, 32 of a fraction.

    NTP's seconds begin again in 2036; times before 1968 are of the second era (RFC 5905, 6).
    """
    seconds, fraction = ntp_timestamp >> 32, ntp_timestamp & 0xFFFFFFFF
    era_s = 0 if seconds & 0x80000000 else 1 << 32
    nanoseconds = (fraction * NANOSECONDS_PER_SECOND + (1 << 31)) >> 32
    return (seconds + era_s - _NTP_TO_UNIX_S) * NANOSECONDS_PER_SECOND + nanoseconds


def rtp_difference(later: int, earlier: int) -> int:
    """``later - earlier`` of 32-bit RTP timestamps, the shorter way round."""
    return ((later - earlier + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


class RtpCaptureClock:
    """From RTP timestamps to the sender's wall clock, if that can be believed.

    A clock further than ``tolerance_s`` from ours is not used; ``implausible_by_s`` then says by
    how much. Written by the event loop, read by a source's thread: each is one assignment.
    """

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_ns = round(tolerance_s * NANOSECONDS_PER_SECOND)
        self._mapping: tuple[int, int] | None = None  # RTP timestamp, Unix ns
        self.implausible_by_s: float | None = None

    def observe(self, ntp_timestamp: int, rtp_timestamp: int, arrival_time_ns: int) -> None:
        """Take the mapping of one sender report that arrived at ``arrival_time_ns`` (Unix)."""
        reported_ns = ntp_to_unix_ns(ntp_timestamp)
        difference_ns = reported_ns - arrival_time_ns
        if abs(difference_ns) > self._tolerance_ns:
            self._mapping = None
            self.implausible_by_s = difference_ns / NANOSECONDS_PER_SECOND
            return
        self.implausible_by_s = None
        self._mapping = (rtp_timestamp, reported_ns)

    def capture_time_ns(self, rtp_timestamp: int) -> int | None:
        """Unix time at which the picture of ``rtp_timestamp`` was taken; None where unknown."""
        mapping = self._mapping
        if mapping is None:
            return None
        ticks = rtp_difference(rtp_timestamp & 0xFFFFFFFF, mapping[0])
        return mapping[1] + ticks * NANOSECONDS_PER_SECOND // VIDEO_CLOCK_HZ

    def forget(self) -> None:
        """RTP time was reset: wait for the next report."""
        self._mapping = None

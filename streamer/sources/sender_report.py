"""Capture time from the RTCP sender reports of a camera (RFC 3550, section 6.4.1).

A sender report ties the camera's wall clock to its RTP time. FFmpeg carries that over to each
packet as ``prft`` side data ("producer reference time"), once the first report came.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import av

_NANOSECONDS = 1_000_000_000
# AVProducerReferenceTime: wall clock in microseconds since 1970, a type, flags.
_PRODUCER_REFERENCE_TIME = struct.Struct("<qii")


class SenderReportClock:
    """Maps presentation times to the camera's wall clock, if that can be believed.

    A clock that differs from the arrival time by more than ``tolerance_s`` is wrong (a camera
    without time server starts at 1970 or 2000) and is not used; ``implausible_by_s`` then says
    by how much.
    """

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_ns = round(tolerance_s * _NANOSECONDS)
        self._offset_ns: int | None = None
        self._reports_seen = 0
        self.implausible_by_s: float | None = None

    def observe(self, packet: av.Packet[av.VideoStream], arrival_time_ns: int) -> None:
        """Take the mapping from a packet, if it carries one."""
        if packet.pts is None or not packet.has_sidedata("prft"):
            return
        self._reports_seen += 1
        # The parser hands the first one to the picture before the one it belongs to.
        if self._reports_seen == 1:
            return
        reference_us = _PRODUCER_REFERENCE_TIME.unpack(bytes(packet.get_sidedata("prft")))[0]
        capture_time_ns = reference_us * 1000
        difference_ns = capture_time_ns - arrival_time_ns
        if abs(difference_ns) > self._tolerance_ns:
            self._offset_ns = None
            self.implausible_by_s = difference_ns / _NANOSECONDS
            return
        self.implausible_by_s = None
        self._offset_ns = capture_time_ns - _nanoseconds(packet.pts, packet.time_base)

    def capture_time_ns(self, pts: int | None, time_base: Fraction) -> int | None:
        """Unix time at which the picture with ``pts`` was captured; None where unknown."""
        if pts is None or self._offset_ns is None:
            return None
        return self._offset_ns + _nanoseconds(pts, time_base)

    def forget(self) -> None:
        """Presentation times were reset: wait for the next mapping, not the old one."""
        self._offset_ns = None
        self._reports_seen = 0


def _nanoseconds(pts: int, time_base: Fraction) -> int:
    return pts * _NANOSECONDS * time_base.numerator // time_base.denominator

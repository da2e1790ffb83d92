"""The clock of an RTSP camera, as FFmpeg passes it on, and presentation times without its jumps.

After a camera's first sender report FFmpeg attaches the camera's wall clock to each packet:
``prft`` side data ("producer reference time"), extrapolated from the last report. Beside a second
track, such as sound, it also takes presentation times from the reports: they jump with them.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import replace
from statistics import median_low

import av

from streamer.runtime.clock import NANOSECONDS_PER_SECOND
from streamer.types import DecodedFrame
from streamer.webrtc.rtp_clock import VIDEO_CLOCK_HZ, RtpCaptureClock

# AVProducerReferenceTime: wall clock in microseconds since 1970, a type, flags.
_PRODUCER_REFERENCE_TIME = struct.Struct("<qii")
# A camera whose reports agree to the microsecond still reports. Three of them must not fit into the
# 7.5 s for which one report may hold (RFC 3550, section 6.2: 5 s, drawn from half to one and a half
# times that): one alone does not set the clock.
_REPEATS_AFTER_S = 4
_ROUNDING_US = 2
# After this many usual steps without a picture the network has stalled: pictures are late then, for
# a while, in which the lateness fades by this factor with each.
_STALL, _LATE_FADES = 4, 0.98


class ProducerReference:
    """Feeds ``clock`` with the reports of one connection. One thread.

    ``jumps`` is whether presentation times jump with the reports; the jumps are taken out then.
    """

    def __init__(self, clock: RtpCaptureClock, *, jumps: bool) -> None:
        self.clock = clock
        self._steady = SteadyTime() if jumps else None
        self._seen = 0
        self._last = (0, 0)

    def steadied(self, frame: DecodedFrame) -> DecodedFrame:
        """``frame`` with its place in media time, whatever the camera's clock does."""
        if self._steady is None or frame.pts is None:
            return frame
        elapsed_ticks = frame.arrival_monotonic_ns * VIDEO_CLOCK_HZ // NANOSECONDS_PER_SECOND
        pts = self._steady.steadied(frame.pts, elapsed_ticks, jumps=self._seen > 0)
        return replace(frame, pts=pts)

    def observe(self, packet: av.Packet[av.VideoStream], arrival_time_ns: int) -> None:
        """Update the clock from a packet, if it carries a reference time."""
        if packet.pts is None or not packet.has_sidedata("prft"):
            return
        self._seen += 1
        # FFmpeg's parser attaches the first one to the picture before the one it belongs to.
        if self._seen == 1:
            return
        pts = packet.pts - (0 if self._steady is None else self._steady.jumped)
        reference_us = _PRODUCER_REFERENCE_TIME.unpack(bytes(packet.get_sidedata("prft")))[0]
        offset_us = reference_us - pts * 1_000_000 // VIDEO_CLOCK_HZ
        last_pts, last_offset_us = self._last
        is_same = self._seen > 2 and abs(offset_us - last_offset_us) <= _ROUNDING_US
        if is_same and pts - last_pts < _REPEATS_AFTER_S * VIDEO_CLOCK_HZ:
            return
        self._last = pts, offset_us
        self.clock.observe(reference_us * 1000, pts, arrival_time_ns)

    def forget(self) -> None:
        """Presentation times were reset: wait for the next reference."""
        self.clock.forget()
        self._seen = 0


class SteadyTime:
    """Takes jumps out of presentation times.

    A step between two pictures is a jump if neither the steps before it nor the time that passed
    explain it; pictures may come late, and others catch up with them. All in ticks of one clock.
    Bound: 15 steps. ``jumped``: all jumps together.
    """

    def __init__(self) -> None:
        self.jumped = 0
        self._steps: deque[int] = deque(maxlen=15)
        self._last: tuple[int, int] | None = None
        self._late = 0.0

    def steadied(self, pts: int, now: int, *, jumps: bool) -> int:
        """``pts`` of a picture that arrived at ``now``, without the jumps; unless it ``jumps``."""
        last, self._last = self._last, (pts, now)
        if last is not None:
            step, passed = pts - last[0], now - last[1]
            if jumps and self._steps:
                media = self._media_step(step, passed)
                self.jumped += step - media
                self._late = max(0.0, _LATE_FADES * (self._late + passed - media))
            if step > 0:
                self._steps.append(step)
        return pts - self.jumped

    def _media_step(self, step: int, passed: int) -> int:
        usual = max(1, median_low(self._steps))
        is_usual = min(abs(step - usual), abs(step - passed)) <= usual // 2
        has_stalled = step < passed and passed > _STALL * usual
        catches_up = passed < step <= passed + self._late
        if step > 0 and (is_usual or has_stalled or catches_up):
            return step
        return max(1, round(passed / usual)) * usual

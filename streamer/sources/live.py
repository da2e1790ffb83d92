"""A live source: a camera, a device or a network address that sends in real time."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace

import av

from streamer.errors import SourceError, SourceFailure
from streamer.sources.base import SourceOutput
from streamer.sources.container import VideoContainer
from streamer.sources.opening import ContainerSettings
from streamer.sources.presentation_time import DiscontinuityWatch, Pacer
from streamer.sources.producer_reference import ProducerReference
from streamer.sources.read_deadline import ReadDeadline
from streamer.types import DecodedFrame
from streamer.webrtc.rtp_clock import RtpCaptureClock

_logger = logging.getLogger(__name__)


class LiveSource:
    """Delivers frames as they arrive: RTSP, HTTP, HLS, SRT, a webcam.

    The capture time is the camera's if its sender reports state it and it is plausible (within
    ``clock_tolerance_s`` of arrival), else the arrival time; it never runs backwards.
    Media that arrive in bursts (HLS) or faster than they play (a recording behind an HTTP address)
    are paced.
    """

    lossless = False

    def __init__(self, settings: ContainerSettings, clock_tolerance_s: float = 0.0) -> None:
        self._settings = settings
        self.deadline = ReadDeadline()
        self._clock = RtpCaptureClock(clock_tolerance_s)
        self._watch = DiscontinuityWatch()
        self._warned_of_clock = False
        self.redacted_url = settings.redacted_url

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver until ``stop``. A recording may end; the end of anything else is an error."""
        with (
            self.deadline.ends_reads(stop),
            VideoContainer(self._settings, self.deadline) as container,
        ):
            is_recorded = container.is_recorded
            pacer = Pacer() if is_recorded or container.is_segmented else None
            reference = ProducerReference(self._clock, jumps=container.jumps_with_reports)
            for frame, packet in container.frames(output, stop, is_live=pacer is None):
                if pacer is not None:
                    if frame.pts is not None:
                        pacer.wait(float(frame.pts * frame.time_base), stop)
                    frame = _arriving_now(frame)
                self._deliver(frame, packet, reference, output)
        if not is_recorded and not stop.is_set():
            raise SourceError(
                SourceFailure.ENDED,
                f"{self._settings.stream_id}: {self.redacted_url} ended the stream",
            )

    def _deliver(
        self,
        frame: DecodedFrame,
        packet: av.Packet[av.VideoStream],
        reference: ProducerReference,
        output: SourceOutput,
    ) -> None:
        frame = reference.steadied(frame)
        problem = self._jump_before(frame)
        if problem is not None:
            reference.forget()
            output.reset(problem)
        reference.observe(packet, frame.arrival_time_ns)
        self._warn_of_clock()
        output.frame(self._clock.stamped(frame))

    def _jump_before(self, frame: DecodedFrame) -> str | None:
        if frame.pts is None:
            return None
        presentation_s = float(frame.pts * frame.time_base)
        return self._watch.observe(presentation_s, frame.arrival_monotonic_ns / 1e9)

    def _warn_of_clock(self) -> None:
        """Warn once per connection: a camera's clock stays wrong until it is set."""
        implausible_by_s = self._clock.implausible_by_s
        if implausible_by_s is not None and not self._warned_of_clock:
            self._warned_of_clock = True
            _logger.warning(
                "%s: the camera's clock is off by %.0f s and is not used; "
                "set the camera to a time server (NTP)",
                self._settings.stream_id,
                implausible_by_s,
            )


def _arriving_now(frame: DecodedFrame) -> DecodedFrame:
    """``frame`` arriving now: one that was read ahead arrives when it is due."""
    arrival_time_ns, arrival_monotonic_ns = time.time_ns(), time.monotonic_ns()
    return replace(
        frame,
        capture_time_ns=arrival_time_ns,
        arrival_time_ns=arrival_time_ns,
        arrival_monotonic_ns=arrival_monotonic_ns,
        decoded_monotonic_ns=arrival_monotonic_ns,
    )

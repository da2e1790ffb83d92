"""A live source: a camera, a device or an address that sends as time passes."""

from __future__ import annotations

import logging
import threading
import time

from streamer.errors import SourceError, SourceFailure
from streamer.sources.base import SourceOutput
from streamer.sources.container import DecodedPicture, VideoContainer
from streamer.sources.opening import ContainerSettings
from streamer.sources.presentation_time import DiscontinuityWatch, Pacer
from streamer.sources.sender_report import SenderReportClock
from streamer.types import ClockSource, DecodedFrame

_logger = logging.getLogger(__name__)


class LiveSource:
    """Delivers pictures as they come: RTSP, HTTP, HLS, SRT, a webcam.

    Capture time is the camera's where its sender reports give it and it is plausible (within
    ``clock_tolerance_s`` of arrival), else the time of arrival. Media that arrive in bursts
    (HLS) or faster than they play (a recording behind an HTTP address) are paced.
    """

    lossless = False

    def __init__(self, settings: ContainerSettings, clock_tolerance_s: float = 0.0) -> None:
        self._settings = settings
        self._clock = SenderReportClock(clock_tolerance_s)
        self._watch = DiscontinuityWatch()
        self._warned_of_clock = False
        self.redacted_url = settings.redacted_url

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver until ``stop``; a recording may end, anything else that ends is an error."""
        with VideoContainer(self._settings) as container:
            is_recorded = container.is_recorded
            pacer = Pacer() if is_recorded or container.is_segmented else None
            for picture in container.pictures(output, stop, is_live=pacer is None):
                if pacer is not None and picture.pts is not None:
                    pacer.wait(float(picture.pts * picture.time_base), stop)
                self._deliver(picture, output, is_paced=pacer is not None)
        if not is_recorded and not stop.is_set():
            raise SourceError(
                SourceFailure.ENDED,
                f"{self._settings.stream_id}: {self.redacted_url} ended the stream",
            )

    def _deliver(self, picture: DecodedPicture, output: SourceOutput, *, is_paced: bool) -> None:
        arrival_time_ns = picture.arrival_time_ns
        arrival_monotonic_ns = picture.arrival_monotonic_ns
        if is_paced:  # what was read ahead "arrives" when it is due
            arrival_time_ns, arrival_monotonic_ns = time.time_ns(), time.monotonic_ns()
        self._watch_presentation_time(picture, arrival_monotonic_ns, output)
        self._clock.observe(picture.packet, arrival_time_ns)
        self._warn_of_clock()
        capture_time_ns = self._clock.capture_time_ns(picture.pts, picture.time_base)
        output.frame(
            DecodedFrame(
                pixels=picture.pixels,
                pts=picture.pts,
                time_base=picture.time_base,
                capture_time_ns=arrival_time_ns if capture_time_ns is None else capture_time_ns,
                clock_source=(
                    ClockSource.ARRIVAL if capture_time_ns is None else ClockSource.RTCP_SR
                ),
                arrival_time_ns=arrival_time_ns,
                arrival_monotonic_ns=arrival_monotonic_ns,
                decoded_monotonic_ns=time.monotonic_ns(),
            )
        )

    def _watch_presentation_time(
        self, picture: DecodedPicture, arrival_monotonic_ns: int, output: SourceOutput
    ) -> None:
        if picture.pts is None:
            return
        presentation_s = float(picture.pts * picture.time_base)
        problem = self._watch.observe(presentation_s, arrival_monotonic_ns / 1e9)
        if problem is not None:
            self._clock.forget()
            output.reset(problem)

    def _warn_of_clock(self) -> None:
        """Once a connection: a camera's clock stays wrong until someone sets it."""
        if self._clock.implausible_by_s is not None and not self._warned_of_clock:
            self._warned_of_clock = True
            _logger.warning(
                "%s: the camera's clock is off by %.0f s and is not used; "
                "let it take its time from a time server (NTP)",
                self._settings.stream_id,
                self._clock.implausible_by_s,
            )

"""Sender reports as FFmpeg passes them on: ``prft`` side data ("producer reference time").

After an RTSP camera's first sender report, FFmpeg attaches the camera's wall clock to each
packet.
"""

from __future__ import annotations

import struct

import av

from streamer.webrtc.rtp_clock import RtpCaptureClock

# AVProducerReferenceTime: wall clock in microseconds since 1970, a type, flags.
_PRODUCER_REFERENCE_TIME = struct.Struct("<qii")


class ProducerReferences:
    """Reads the side data of one connection's packets into ``clock``."""

    def __init__(self, clock: RtpCaptureClock) -> None:
        self.clock = clock
        self._seen = 0

    def observe(self, packet: av.Packet[av.VideoStream], arrival_time_ns: int) -> None:
        """Update the clock from a packet, if it carries a reference time."""
        if packet.pts is None or not packet.has_sidedata("prft"):
            return
        self._seen += 1
        # FFmpeg's parser attaches the first one to the picture before the one it belongs to.
        if self._seen == 1:
            return
        reference_us = _PRODUCER_REFERENCE_TIME.unpack(bytes(packet.get_sidedata("prft")))[0]
        self.clock.observe(reference_us * 1000, packet.pts, arrival_time_ns)

    def forget(self) -> None:
        """Presentation times were reset: wait for the next reference."""
        self.clock.forget()
        self._seen = 0

"""The place where pictures leave aiortc's receiver, still encoded; all that reaches inside of it.

aiortc would decode in a thread of its own, into a queue without a bound. Its jitter buffer is
replaced by a ``FrameAssembler``, which hands pictures on before that queue and leaves aiortc's
decoder nothing to do; its handling of RTCP is listened to for sender reports.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aiortc import RTCRtpReceiver
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RTP_HISTORY_SIZE, AnyRtcpPacket, RtcpSrPacket, RtpPacket

from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.sender_report import RtpCaptureClock

# aiortc remembers each source (SSRC) for ever and reports on all of them in one packet, which has
# room for 31 (RFC 3550, section 6.4.2). A video has one, its retransmissions another.
MAXIMUM_SOURCES = 31
_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_NACK_GENERATOR = "_RTCRtpReceiver__nack_generator"
_logger = logging.getLogger(__name__)


def take_over_receiver(
    receiver: RTCRtpReceiver,
    assembler: FrameAssembler,
    clock: RtpCaptureClock,
    unix_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Let ``receiver`` give its packets to ``assembler`` and its sender reports to ``clock``.

    To be called before media flow. A peer with more than ``MAXIMUM_SOURCES`` is disconnected.
    Raises ``RuntimeError`` for a version of aiortc that is made differently.
    """
    if not hasattr(receiver, _JITTER_BUFFER) or not hasattr(receiver, _NACK_GENERATOR):
        raise RuntimeError(
            "this version of aiortc keeps its jitter buffer elsewhere; install one that "
            "pyproject.toml allows"
        )
    handle_rtcp_packet = receiver._handle_rtcp_packet
    handle_rtp_packet = receiver._handle_rtp_packet
    sources: set[int] = set()

    async def count_sources(packet: RtpPacket, arrival_time_ms: int) -> None:
        sources.add(packet.ssrc)
        if len(sources) > MAXIMUM_SOURCES:
            _logger.warning("a peer that sends as more than %d sources is left", MAXIMUM_SOURCES)
            raise ConnectionError("too many sources")  # with which aiortc ends the transport
        await handle_rtp_packet(packet, arrival_time_ms)

    async def observe_rtcp_packet(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == assembler.ssrc:
            report = packet.sender_info
            clock.observe(report.ntp_timestamp, report.rtp_timestamp, unix_ns())
        await handle_rtcp_packet(packet)

    setattr(receiver, _JITTER_BUFFER, assembler)
    setattr(receiver, _NACK_GENERATOR, BoundedNackGenerator(assembler))
    receiver._handle_rtcp_packet = observe_rtcp_packet  # type: ignore[method-assign]
    receiver._handle_rtp_packet = count_sources  # type: ignore[method-assign]


class BoundedNackGenerator(NackGenerator):
    """Asks for the missing packets of the assembler's source, if they are not too many.

    aiortc's own counts through every gap, up to 32767 packets in one go on the event loop, only
    to keep the last ``RTP_HISTORY_SIZE`` of them; takes the packets of all sources as one
    sequence; and asks for nothing while numbers that went back catch up. Behind a longer gap
    there is no picture to be saved: the assembler asks for a keyframe.
    """

    def __init__(self, assembler: FrameAssembler) -> None:
        super().__init__()
        self._assembler = assembler

    def add(self, packet: RtpPacket) -> bool:
        """Whether packets are missing now that were not before."""
        if self._assembler.ssrc not in (None, packet.ssrc):
            return False
        if self.max_seq is not None:
            ahead = (packet.sequence_number - self.max_seq) & 0xFFFF
            if RTP_HISTORY_SIZE < ahead < 0x10000 - RTP_HISTORY_SIZE:
                self.missing.clear()
                self.max_seq = None
        return bool(super().add(packet))

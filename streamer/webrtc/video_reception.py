"""The place where pictures leave aiortc's receiver, still encoded; all that reaches inside of it.

aiortc would decode in a thread of its own, into a queue without a bound. Its jitter buffer is
replaced by a ``FrameAssembler``, which hands pictures on before that queue and leaves aiortc's
decoder nothing to do; its handling of RTCP is listened to for sender reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiortc import RTCRtpReceiver
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RTP_HISTORY_SIZE, AnyRtcpPacket, RtcpSrPacket, RtpPacket

from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.rtp_clock import RtpCaptureClock, ntp_to_unix_ns

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_NACK_GENERATOR = "_RTCRtpReceiver__nack_generator"


def take_over_receiver(
    receiver: RTCRtpReceiver,
    assembler: FrameAssembler,
    clock: RtpCaptureClock,
    unix_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Let ``receiver`` give its packets to ``assembler`` and its sender reports to ``clock``.

    To be called before media flow. Raises ``RuntimeError`` for a version of aiortc that is made
    differently.
    """
    if not hasattr(receiver, _JITTER_BUFFER) or not hasattr(receiver, _NACK_GENERATOR):
        raise RuntimeError(
            "this version of aiortc keeps its jitter buffer elsewhere; install one that "
            "pyproject.toml allows"
        )
    handle_rtcp_packet = receiver._handle_rtcp_packet

    async def observe_rtcp_packet(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == assembler.ssrc:
            report = packet.sender_info
            reported_ns = ntp_to_unix_ns(report.ntp_timestamp)
            clock.observe(reported_ns, report.rtp_timestamp, unix_ns())
        await handle_rtcp_packet(packet)

    setattr(receiver, _JITTER_BUFFER, assembler)
    setattr(receiver, _NACK_GENERATOR, BoundedNackGenerator(assembler))
    receiver._handle_rtcp_packet = observe_rtcp_packet  # type: ignore[method-assign]


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

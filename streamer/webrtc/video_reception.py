"""The place where pictures leave aiortc's receiver, still encoded; all that reaches inside of it.

aiortc would decode in a thread of its own, into a queue without a bound. Its jitter buffer is
replaced by a ``FrameAssembler``, which hands pictures on before that queue and leaves aiortc's
decoder nothing to do; its handling of RTCP is listened to for sender reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from aiortc import RTCRtpReceiver
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket

from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.sender_report import RtpCaptureClock

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"


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
    if not hasattr(receiver, _JITTER_BUFFER):
        raise RuntimeError(
            "this version of aiortc keeps its jitter buffer elsewhere; install one that "
            "pyproject.toml allows"
        )
    handle_rtcp_packet = receiver._handle_rtcp_packet

    async def observe_rtcp_packet(packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == assembler.ssrc:
            report = packet.sender_info
            clock.observe(report.ntp_timestamp, report.rtp_timestamp, unix_ns())
        await handle_rtcp_packet(packet)

    setattr(receiver, _JITTER_BUFFER, assembler)
    receiver._handle_rtcp_packet = observe_rtcp_packet  # type: ignore[method-assign]

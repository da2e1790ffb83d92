"""Everything of ours that reaches inside aiortc, and why. aiortc is pinned exactly for it.

Receiving:

- ``take_over_receiver``: aiortc decodes in a thread of its own, into a queue without a bound, and
  has no way to hand out encoded pictures or sender reports.
- ``BoundedNackGenerator``: aiortc's own can be made to count through 32767 numbers at once.
- ``limit_sources``: aiortc has no bound on the sources (SSRC) of a peer.

Sending:

- ``set_rtp_offset``: aiortc draws the first RTP timestamp and does not show it.
- ``on_keyframe_request``, ``on_rtcp``: aiortc keeps a request for a keyframe to itself when it
  does not encode, and does not report that receiver reports arrive.
- ``limit_retransmissions``: aiortc sends again whatever is asked for.

Connecting:

- ``use_agent``: aiortc makes its own ICE agent; ours is ``IceConnection``.
- ``begin_no_media_after``: closed during its handshake, aiortc would begin media all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
import types
from collections.abc import Callable, Coroutine
from typing import Any

from aiortc import RTCDtlsTransport, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RTP_HISTORY_SIZE, AnyRtcpPacket, RtcpRtpfbPacket, RtcpSrPacket, RtpPacket

from streamer.runtime.clock import NANOSECONDS_PER_SECOND, Clock
from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.ice_connection import IceConnection
from streamer.webrtc.rtp_clock import RtpCaptureClock, ntp_to_unix_ns

# A video has one source, its retransmissions another, reports may have their own; aiortc's reports
# on what it receives have room for 31 (RFC 3550, section 6.4.2).
MAXIMUM_SOURCES = 31
# What is sent again at a viewer's request: a third of all at 20 Mb/s. One packet can ask for 6000,
# and each takes the event loop 0.1 ms; policy: the rest counts as lost.
RETRANSMISSIONS_PER_S = 700
_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_NACK_GENERATOR = "_RTCRtpReceiver__nack_generator"
_DRAWS_ORIGIN = "random32"
_logger = logging.getLogger(__name__)


def take_over_receiver(
    receiver: RTCRtpReceiver,
    assembler: FrameAssembler,
    clock: RtpCaptureClock,
    unix_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Let ``receiver`` give its packets to ``assembler`` and its sender reports to ``clock``.

    ``assembler`` takes the place of the jitter buffer and hands pictures on before aiortc's queue,
    so that its decoder has nothing to do. To be called before media flow.
    """
    assert hasattr(receiver, _JITTER_BUFFER), "this version of aiortc is not known"
    assert hasattr(receiver, _NACK_GENERATOR), "this version of aiortc is not known"
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
    no picture can be saved: the assembler asks for a keyframe.
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


def limit_sources(transport: RTCDtlsTransport) -> None:
    """Let ``transport`` end when its peer sends as more than ``MAXIMUM_SOURCES``.

    For each source libsrtp keeps keys and a replay window, which it searches one by one with
    every packet (0.7 ms at 20000), and aiortc keeps statistics, for as long as the connection
    lasts. Only packets that were decrypted are counted.
    """
    handle_rtp, handle_rtcp = transport._handle_rtp_data, transport._handle_rtcp_data
    sources: set[bytes] = set()

    def count(source: bytes) -> None:
        sources.add(source)
        if len(sources) > MAXIMUM_SOURCES:
            _logger.warning(
                "disconnecting a peer that sends as more than %d sources", MAXIMUM_SOURCES
            )
            raise ConnectionError("too many sources")  # with which aiortc ends the transport

    async def handle_counted_rtp(data: bytes, arrival_time_ms: int) -> None:
        count(data[8:12])
        await handle_rtp(data, arrival_time_ms)

    async def handle_counted_rtcp(data: bytes) -> None:
        count(data[4:8])
        await handle_rtcp(data)

    transport._handle_rtp_data = handle_counted_rtp  # type: ignore[method-assign]
    transport._handle_rtcp_data = handle_counted_rtcp  # type: ignore[method-assign]


def set_rtp_offset(sender: RTCRtpSender, offset: int) -> None:
    """Let RTP timestamps be ``offset`` + a packet's 90 kHz time, mod 2³².

    RFC 3550, section 5.1 wants the offset random; here it must be known as well, before the
    first packet is sent. To be called before the connection is made.
    """
    run = RTCRtpSender._run_rtp
    assert _DRAWS_ORIGIN in run.__code__.co_names, "this version of aiortc is not known"
    run_globals = {**run.__globals__, _DRAWS_ORIGIN: lambda: offset}
    known = types.FunctionType(run.__code__, run_globals, run.__name__)
    sender._run_rtp = types.MethodType(known, sender)  # type: ignore[method-assign]


def on_keyframe_request(sender: RTCRtpSender, request: Callable[[], None]) -> None:
    """Call ``request`` when the receiver asks for a keyframe (PLI, FIR; RFC 4585, RFC 5104)."""
    sender._send_keyframe = request  # type: ignore[method-assign]


def on_rtcp(sender: RTCRtpSender, heard: Callable[[], None]) -> None:
    """Call ``heard`` with every RTCP packet that the receiver sends about this video.

    A packet that one NACK asks for several times is sent again once.
    """
    handle = sender._handle_rtcp_packet

    async def handle_and_report(packet: Any) -> None:
        heard()
        if isinstance(packet, RtcpRtpfbPacket):
            packet.lost = list(dict.fromkeys(packet.lost))[:RTP_HISTORY_SIZE]
        await handle(packet)

    sender._handle_rtcp_packet = handle_and_report  # type: ignore[method-assign]


def limit_retransmissions(sender: RTCRtpSender, clock: Clock) -> None:
    """Send at most ``RETRANSMISSIONS_PER_S`` packets again (NACK, RFC 4585)."""
    retransmit = sender._retransmit
    second_began_ns = clock.monotonic_ns()
    sent_in_second = 0

    async def retransmit_if_allowed(sequence_number: int) -> None:
        nonlocal second_began_ns, sent_in_second
        if clock.monotonic_ns() - second_began_ns >= NANOSECONDS_PER_SECOND:
            second_began_ns = clock.monotonic_ns()
            sent_in_second = 0
        sent_in_second += 1
        if sent_in_second <= RETRANSMISSIONS_PER_S:
            await retransmit(sequence_number)

    sender._retransmit = retransmit_if_allowed  # type: ignore[method-assign]


def use_agent(transceiver: RTCRtpTransceiver, agent: IceConnection) -> None:
    """Let the transport of ``transceiver`` find its path by ``agent``; before it is started."""
    transport = transceiver.receiver.transport.transport
    transport.iceGatherer._connection = agent
    transport._connection = agent
    transport._recv = agent.recv
    transport._send = agent.send


def begin_no_media_after(ended: asyncio.Event, transceiver: RTCRtpTransceiver) -> None:
    """Begin neither to receive nor to send once ``ended`` is set: nothing would stop it."""

    def unless_ended(begin: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
        async def begin_unless_ended(parameters: Any) -> None:
            if not ended.is_set():
                await begin(parameters)

        return begin_unless_ended

    receiver, sender = transceiver.receiver, transceiver.sender
    receiver.receive = unless_ended(receiver.receive)  # type: ignore[method-assign]
    sender.send = unless_ended(sender.send)  # type: ignore[method-assign]

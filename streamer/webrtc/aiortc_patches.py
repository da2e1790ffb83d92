"""Every patch of aiortc's internals, with its reason. The aiortc version is pinned for this.

Receiving:

- ``take_over_receiver``: aiortc decodes in a thread of its own, into a queue without a bound, and
  has no way to hand out encoded pictures or sender reports.
- ``BoundedNackGenerator``: a peer can make aiortc's own iterate over 32767 numbers at once.
- ``limit_sources``: aiortc has no bound on the sources (SSRC) of a peer.

Sending:

- ``set_rtp_offset``: aiortc draws the first RTP timestamp and does not expose it.
- ``on_keyframe_request``, ``on_rtcp``: aiortc ignores keyframe requests when it does not
  encode, and does not report incoming receiver reports.
- ``limit_retransmissions``: aiortc resends every packet a peer asks for.

Connecting:

- ``use_agent``: aiortc creates its own ICE agent; ours is ``IceConnection``.
- ``begin_no_media_after``: when closed during the handshake, aiortc would still start media.
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

# A video uses one source, its retransmissions another, and reports may use a third. One receiver
# report of aiortc has room for 31 sources (RFC 3550, section 6.4.2).
MAXIMUM_SOURCES = 31
# Bound on retransmissions: a third of all packets at 20 Mb/s. One NACK packet can ask for 6000, and
# each costs the event loop 0.1 ms; policy: further requests are ignored.
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
    """Route the packets of ``receiver`` to ``assembler`` and its sender reports to ``clock``.

    ``assembler`` replaces the jitter buffer and delivers pictures before they reach aiortc's
    queue, so aiortc's decoder stays idle. Call this before media flows.
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
    """Requests the missing packets of the assembler's source, unless the gap is too long.

    aiortc's own generator iterates over every gap, up to 32767 packets at once on the event loop,
    and keeps only the last ``RTP_HISTORY_SIZE``. It treats the packets of all sources as one
    sequence, and requests nothing while sequence numbers that jumped back catch up. After a
    longer gap no picture can be recovered: the assembler requests a keyframe.
    """

    def __init__(self, assembler: FrameAssembler) -> None:
        super().__init__()
        self._assembler = assembler

    def add(self, packet: RtpPacket) -> bool:
        """Record a packet; return whether it revealed newly missing packets."""
        if self._assembler.ssrc not in (None, packet.ssrc):
            return False
        if self.max_seq is not None:
            ahead = (packet.sequence_number - self.max_seq) & 0xFFFF
            if RTP_HISTORY_SIZE < ahead < 0x10000 - RTP_HISTORY_SIZE:
                self.missing.clear()
                self.max_seq = None
        return bool(super().add(packet))


def limit_sources(transport: RTCDtlsTransport) -> None:
    """End ``transport`` when its peer uses more than ``MAXIMUM_SOURCES`` sources (SSRC).

    For each source, libsrtp keeps keys and a replay window for the life of the connection and
    searches them linearly for every packet (0.7 ms at 20000 sources). aiortc keeps statistics as
    long. Only decrypted packets count.
    """
    handle_rtp, handle_rtcp = transport._handle_rtp_data, transport._handle_rtcp_data
    sources: set[bytes] = set()

    def count(source: bytes) -> None:
        sources.add(source)
        if len(sources) > MAXIMUM_SOURCES:
            _logger.warning(
                "disconnecting a peer that uses more than %d sources (SSRC)", MAXIMUM_SOURCES
            )
            raise ConnectionError("too many sources")  # aiortc ends the transport on this

    async def handle_counted_rtp(data: bytes, arrival_time_ms: int) -> None:
        count(data[8:12])
        await handle_rtp(data, arrival_time_ms)

    async def handle_counted_rtcp(data: bytes) -> None:
        count(data[4:8])
        await handle_rtcp(data)

    transport._handle_rtp_data = handle_counted_rtp  # type: ignore[method-assign]
    transport._handle_rtcp_data = handle_counted_rtcp  # type: ignore[method-assign]


def set_rtp_offset(sender: RTCRtpSender, offset: int) -> None:
    """Make RTP timestamps ``offset`` + a packet's 90 kHz time, mod 2³².

    RFC 3550, section 5.1 requires a random offset; we must also know it before the first packet
    is sent. Call this before the connection is made.
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
    """Call ``heard`` for every RTCP packet that the receiver sends about this video.

    A packet that one NACK lists several times is resent once.
    """
    handle = sender._handle_rtcp_packet

    async def handle_and_report(packet: Any) -> None:
        heard()
        if isinstance(packet, RtcpRtpfbPacket):
            packet.lost = list(dict.fromkeys(packet.lost))[:RTP_HISTORY_SIZE]
        await handle(packet)

    sender._handle_rtcp_packet = handle_and_report  # type: ignore[method-assign]


def limit_retransmissions(sender: RTCRtpSender, clock: Clock) -> None:
    """Resend at most ``RETRANSMISSIONS_PER_S`` packets per second (NACK, RFC 4585)."""
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
    """Make the transport of ``transceiver`` use ``agent`` for ICE; call before it starts."""
    transport = transceiver.receiver.transport.transport
    transport.iceGatherer._connection = agent
    transport._connection = agent
    transport._recv = agent.recv
    transport._send = agent.send


def begin_no_media_after(ended: asyncio.Event, transceiver: RTCRtpTransceiver) -> None:
    """Start neither receiving nor sending once ``ended`` is set: nothing would stop it."""

    def unless_ended(begin: Callable[[Any], Coroutine[Any, Any, None]]) -> Any:
        async def begin_unless_ended(parameters: Any) -> None:
            if not ended.is_set():
                await begin(parameters)

        return begin_unless_ended

    receiver, sender = transceiver.receiver, transceiver.sender
    receiver.receive = unless_ended(receiver.receive)  # type: ignore[method-assign]
    sender.send = unless_ended(sender.send)  # type: ignore[method-assign]

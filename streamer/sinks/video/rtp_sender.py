"""aiortc's RTP sender, for packets that were encoded elsewhere: its clock, and what it is asked.

aiortc draws the first RTP timestamp where nobody can read it, keeps a request for a keyframe to
itself when it does not encode, and does not tell whether receiver reports come. All of it is
reached here and nowhere else.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Any, cast

from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RTP_HISTORY_SIZE, RtcpRtpfbPacket

from streamer.runtime.clock import (
    NANOSECONDS_PER_SECOND,
    Clock,
    ns_to_seconds,
)
from streamer.sinks.video.encoder import VideoPacket
from streamer.sinks.video.video_channel import Viewer

# What the kernel has not taken yet; asyncio keeps it without bound. Half a second at 4 Mb/s.
CONGESTED_BYTES = 262_144
# What is sent again at a viewer's request: a third of all at 20 Mb/s. One packet can ask for 6000,
# and each takes the event loop 0.1 ms; policy: the rest counts as lost.
RETRANSMISSIONS_PER_S = 700
_DRAWS_ORIGIN = "random32"
_TURN_CLIENT = "_TurnTransport__inner_protocol"


class ViewerTrack(MediaStreamTrack):
    """A viewer's packets as a track to send; ends with the viewer."""

    kind = "video"

    def __init__(self, viewer: Viewer, clock: Clock) -> None:
        super().__init__()
        self._viewer = viewer
        self._clock = clock
        # When the first packet was sent on which no report came yet.
        self._unheard_since_ns: int | None = None

    async def recv(self) -> VideoPacket:
        """The next packet; aiortc sends it and asks again."""
        packet = await self._viewer.read()
        if packet is None:
            self.stop()
            raise MediaStreamError
        if self._unheard_since_ns is None:
            self._unheard_since_ns = self._clock.monotonic_ns()
        return packet

    def heard_of(self) -> None:
        """The receiver has reported."""
        self._unheard_since_ns = None

    def unheard_s(self) -> float:
        """For how long packets were sent without any report; a stream at rest needs none."""
        if self._unheard_since_ns is None:
            return 0.0
        return ns_to_seconds(self._clock.monotonic_ns() - self._unheard_since_ns)


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
    """Call ``heard`` with every RTCP packet that the receiver sends about this video."""
    handle = sender._handle_rtcp_packet

    async def handle_and_tell(packet: Any) -> None:
        heard()
        if isinstance(packet, RtcpRtpfbPacket):
            packet.lost = list(dict.fromkeys(packet.lost))[:RTP_HISTORY_SIZE]
        await handle(packet)

    sender._handle_rtcp_packet = handle_and_tell  # type: ignore[method-assign]


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


def is_congested(sender: RTCRtpSender) -> bool:
    """Whether so much of what was sent still waits in this process that it is stale."""
    connection = sender.transport.transport._connection
    return any(
        _waiting_bytes(pair.protocol.transport) > CONGESTED_BYTES
        for pair in connection._nominated.values()
    )


def _waiting_bytes(transport: Any) -> int:
    """What waits to be sent over a socket, or over the one to a TURN server."""
    client = getattr(transport, _TURN_CLIENT, None)
    socket_transport = transport if client is None else client.transport
    return cast("asyncio.WriteTransport", socket_transport).get_write_buffer_size()

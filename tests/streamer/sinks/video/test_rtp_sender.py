"""What a viewer can make its sender do, and over what it is sent to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from aioice.turn import TurnClientUdpProtocol, TurnTransport
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.rtp import RTCP_RTPFB_NACK, RTP_HISTORY_SIZE, RtcpRtpfbPacket

from streamer.sinks.video import rtp_sender
from streamer.sinks.video.rtp_sender import (
    RETRANSMISSIONS_PER_S,
    limit_retransmissions,
    on_rtcp,
)
from tests.streamer.fakes import FakeClock


@pytest.fixture
async def sender() -> AsyncIterator[RTCRtpSender]:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    yield connection.addTransceiver("video", direction="sendonly").sender
    await connection.close()


def nack(lost: list[int]) -> RtcpRtpfbPacket:
    return RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=2, lost=lost)


@pytest.fixture
def sent_again(sender: RTCRtpSender) -> list[int]:
    again: list[int] = []

    async def note(sequence_number: int) -> None:
        again.append(sequence_number)

    sender._retransmit = note
    return again


async def test_what_is_asked_for_twice_is_sent_again_once(
    sender: RTCRtpSender, sent_again: list[int]
) -> None:
    on_rtcp(sender, lambda: None)
    await sender._handle_rtcp_packet(nack([5, 6, 5, 6, 5]))
    assert sent_again == [5, 6]
    await sender._handle_rtcp_packet(nack(list(range(6000))))
    assert len(sent_again) == 2 + RTP_HISTORY_SIZE


async def test_retransmissions_are_limited_in_each_second(
    sender: RTCRtpSender, sent_again: list[int]
) -> None:
    clock = FakeClock()
    limit_retransmissions(sender, clock)
    for _ in range(100):
        await sender._handle_rtcp_packet(nack(list(range(100))))
    assert len(sent_again) == RETRANSMISSIONS_PER_S
    clock.advance(1.0)
    await sender._handle_rtcp_packet(nack([7]))
    assert sent_again[-1] == 7
    assert len(sent_again) == RETRANSMISSIONS_PER_S + 1


async def test_congestion_is_that_of_the_socket_to_the_turn_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: TurnClientUdpProtocol(server.getsockname(), "user", "secret", 600, 300),
            remote_addr=server.getsockname(),
        )
        pair = SimpleNamespace(protocol=SimpleNamespace(transport=TurnTransport(client)))
        agent = SimpleNamespace(_nominated={1: pair})
        relayed = SimpleNamespace(
            transport=SimpleNamespace(transport=SimpleNamespace(_connection=agent))
        )
        assert not rtp_sender.is_congested(relayed)
        monkeypatch.setattr(rtp_sender, "CONGESTED_BYTES", -1)
        assert rtp_sender.is_congested(relayed)
        transport.close()
        await asyncio.sleep(0)

"""The end of a peer, whatever it was doing."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiortc import RTCDtlsTransport, RTCIceCandidate

from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.peer import Peer
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.webrtc.conftest import Ingest
from tests.streamer.webrtc.waiting import until


async def test_session_that_is_ended_during_its_handshake_leaves_nothing(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletions: list[asyncio.Task[object]] = []
    start = RTCDtlsTransport.start

    async with Publisher(ingest.whip) as publisher:

        async def start_and_be_deleted(self: RTCDtlsTransport, parameters: object) -> None:
            await start(self, parameters)
            if self is not publisher.connection.getTransceivers()[0].sender.transport:
                deletions.append(asyncio.ensure_future(ingest.whip.delete(publisher.session_id)))
                peer = ingest.publishers.session(publisher.session_id).peer
                await peer.ended.wait()  # and, before anything is closed, continue

        monkeypatch.setattr(RTCDtlsTransport, "start", start_and_be_deleted)
        await publisher.publish()
        await until(lambda: deletions, "the end of the handshake")
        await deletions[0]


async def test_closing_does_not_wait_for_a_part_that_hangs(
    nothing_left: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamer.webrtc.peer._CLOSE_TIMEOUT_S", 0.1)
    peer = Peer(IceSettings(), "video", "recvonly")
    close = peer._ice.close
    monkeypatch.setattr(peer._ice, "close", asyncio.Event().wait)
    with caplog.at_level(logging.WARNING):
        await peer.close()
    assert "did not close" in caplog.text
    await close()


async def test_unresolvable_name_is_left_out(
    nothing_left: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_multicast() -> None:
        raise OSError("port 5353 is taken")

    monkeypatch.setattr("aioice.mdns.create_mdns_protocol", no_multicast)
    peer = Peer(IceSettings(), "video", "recvonly")
    with caplog.at_level(logging.INFO):
        peer.add_candidates(
            [RTCIceCandidate(1, "1", "abcd.local", 9, 1, "udp", "host", sdpMid="0")]
        )
        await until(lambda: not peer._tasks, "the end of the look-up")
    assert "port 5353 is taken" in caplog.text
    await peer.close()

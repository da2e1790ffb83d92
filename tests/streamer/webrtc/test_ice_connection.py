"""The ICE agent: ports, advertised addresses, and restarts that media survive."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
from aioice.turn import TurnClientUdpProtocol, TurnTransport
from aiortc import RTCIceCandidate
from aiortc.rtcicetransport import candidate_to_aioice
from aiortc.sdp import candidate_from_sdp

from streamer.api.server.principals import UNRESTRICTED
from streamer.webrtc.http_answer import SDP_FRAGMENT
from streamer.webrtc.ice_connection import IceConnection, LocalAddressing
from streamer.webrtc.ice_settings import IceServer, IceSettings
from streamer.webrtc.peer import Peer
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.webrtc.conftest import Ingest, MakeIngest
from tests.streamer.webrtc.waiting import until


def answered_candidates(sdp: bytes) -> list[RTCIceCandidate]:
    return [
        candidate_from_sdp(line.removeprefix("a=candidate:"))
        for line in sdp.decode().splitlines()
        if line.startswith("a=candidate:")
    ]


async def test_sockets_are_of_the_port_range_until_it_is_used_up(
    make_ingest: MakeIngest, free_ports
) -> None:
    (port,) = free_ports(1)
    ingest = make_ingest(port_minimum=port, port_maximum=port)
    async with Publisher(ingest.whip, "a") as first, Publisher(ingest.whip, "b") as second:
        answer = await first.post()
        assert [each.port for each in answered_candidates(answer.body)] == [port]
        refused = await second.post()
        assert refused.status == 503
        assert refused.detail == (
            f"no connection can be offered: no UDP port of {port}-{port} is free"
        )
        assert (await ingest.whip.delete(first.session_id)).status == 200
        assert (await second.post()).status == 201


async def test_advertised_address_replaces_our_own(make_ingest: MakeIngest) -> None:
    ingest = make_ingest(advertised_address="203.0.113.7")
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            addresses = {each.ip for each in answered_candidates(publisher.posted.body)}
            assert addresses == {"203.0.113.7"}
            # We reach the publisher by its address, whatever it makes of ours.
            await until(lambda: source.output.frames, "a frame")


async def test_machine_without_a_network_reaches_itself(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Publisher(ingest.whip) as publisher:
        offer = await publisher.offer()
        monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
        answer = await ingest.whip.post("cam1", offer, "application/sdp", UNRESTRICTED)
        assert {each.ip for each in answered_candidates(answer.body)} == {"127.0.0.1"}


class RestartingPublisher(Publisher):
    """A publisher with an agent that can be restarted too."""

    def use_restartable_agent(self) -> IceConnection:
        transport = self.connection.getTransceivers()[0].sender.transport.transport
        agent = IceConnection(LocalAddressing())
        transport.iceGatherer._connection = transport._connection = agent
        transport._recv, transport._send = agent.recv, agent.send
        return agent


async def test_ice_restart_brings_new_credentials_and_media_continue(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with RestartingPublisher(ingest.whip) as publisher:
            agent = publisher.use_restartable_agent()
            await publisher.publish()
            await until(lambda: source.output.frames, "a frame")
            session = ingest.publishers.session(publisher.session_id)
            assert session is not None
            ours_before = (session.peer._ice.local_username, session.peer._ice.local_password)
            pair_before = session.peer._ice._nominated[1]

            # The publisher makes new credentials, sends them, and receives ours.
            await agent.begin_restart("unknown", "unknown-as-yet-unknown")
            lines = [
                f"a=ice-ufrag:{agent.local_username}",
                f"a=ice-pwd:{agent.local_password}",
                "m=video 9 UDP/TLS/RTP/SAVPF 0",
                "a=mid:0",
                *(f"a=candidate:{each.to_sdp()}" for each in agent.local_candidates),
                "a=end-of-candidates",
            ]
            old_tag = publisher.header("ETag")
            body = "\r\n".join(lines).encode()
            answer = await ingest.whip.patch(publisher.session_id, body, SDP_FRAGMENT, "*")
            assert answer.status == 200
            headers = dict(answer.headers)
            assert headers["Content-Type"] == SDP_FRAGMENT
            assert headers["ETag"] != old_tag
            stale = await ingest.whip.patch(publisher.session_id, body, SDP_FRAGMENT, old_tag)
            assert stale.status == 412
            text = answer.body.decode()
            values = dict(
                line[2:].split(":", 1) for line in text.splitlines() if line.startswith("a=ice-")
            )
            ours = (values["ice-ufrag"], values["ice-pwd"])
            assert set(ours).isdisjoint(ours_before)

            # And finds a pair by them, while the pictures never stopped.
            agent.remote_username, agent.remote_password = ours
            for candidate in answered_candidates(answer.body):
                await agent.add_remote_candidate(candidate_to_aioice(candidate))
            await agent.add_remote_candidate(None)
            await agent.connect()
            agent.end_restart()
            await until(lambda: session.peer._ice._nominated, "our new pair")
            assert session.peer._ice._nominated[1] is not pair_before
            await until(lambda: not session.peer._ice._before_restart, "the old pair's end")
            count = len(source.output.frames)
            await until(lambda: len(source.output.frames) > count + 10, "further frames")
            assert source.error is None
            assert not source.output.resets

            # The session is that of the new tag now.
            after = await ingest.whip.patch(
                publisher.session_id,
                b"a=end-of-candidates\r\n",
                SDP_FRAGMENT,
                headers["ETag"],
            )
            assert after.status == 204


async def test_restart_without_a_reachable_peer_ends_the_session(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.webrtc.peer.CONNECT_TIMEOUT_S", 0.3)
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await until(lambda: source.output.frames, "a frame")
            body = b"a=ice-ufrag:abcd\r\na=ice-pwd:" + b"p" * 22
            answer = await ingest.whip.patch(publisher.session_id, body, SDP_FRAGMENT, "*")
            assert answer.status == 200
            error = await asyncio.to_thread(source.wait_for_end)
            assert error is not None
            assert ingest.publishers.session(publisher.session_id) is None


async def test_peer_asks_no_server_unless_configured(nothing_left: None) -> None:
    peer = Peer(IceSettings(), "video", "recvonly")
    assert peer._ice.stun_server is None
    assert peer._ice.turn_server is None
    gatherer = peer.transceiver.receiver.transport.transport.iceGatherer
    assert gatherer._connection is peer._ice
    await peer.close()
    await peer.close()


async def test_credentials_are_not_shown() -> None:
    settings = IceSettings(servers=(IceServer("turn:127.0.0.1", "masklet", "secret"),))
    assert "secret" not in repr(settings)


async def test_waiting_bytes_are_those_of_the_socket_to_the_turn_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        transport, client = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: TurnClientUdpProtocol(server.getsockname(), "user", "secret", 600, 300),
            remote_addr=server.getsockname(),
        )
        agent = IceConnection(LocalAddressing())
        assert agent.waiting_bytes == 0
        pair = SimpleNamespace(protocol=SimpleNamespace(transport=TurnTransport(client)))
        agent._nominated = {1: pair}
        monkeypatch.setattr(client.transport, "get_write_buffer_size", lambda: 7)
        assert agent.waiting_bytes == 7
        agent._nominated = {}
        await agent.close()
        transport.close()
        await asyncio.sleep(0)

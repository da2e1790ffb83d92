"""Datagrams from strangers to a peer's UDP port, and from the peer itself."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aioice import stun

from streamer.api.server.principals import UNRESTRICTED
from streamer.webrtc.http_answer import SDP_FRAGMENT
from streamer.webrtc.ice_connection import (
    DTLS_DATAGRAMS,
    REMOTE_CANDIDATES,
    WAITING_DATAGRAMS,
    IceConnection,
    LocalAddressing,
)
from tests.streamer.api.webrtc.publisher import Publisher
from tests.streamer.webrtc.conftest import Ingest, MakeIngest
from tests.streamer.webrtc.waiting import until


def answered(publisher: Publisher, name: str) -> str:
    """The first value of an attribute in the answer."""
    assert publisher.posted is not None
    lines = publisher.posted.body.decode().splitlines()
    return next(line for line in lines if line.startswith(f"a={name}:")).partition(":")[2]


@contextmanager
def stranger(publisher: Publisher) -> Iterator[socket.socket]:
    """A socket that sends to the address given to the publisher."""
    port = int(answered(publisher, "candidate").split()[5])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        sender.setblocking(False)
        yield sender


def malformed_stun() -> bytes:
    """A binding request with a PRIORITY of two bytes instead of four."""
    attribute = struct.pack("!HHHxx", 0x0024, 2, 7)
    return struct.pack("!HHI12s", 1, len(attribute), stun.COOKIE, bytes(12)) + attribute


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\x80" + bytes(1999), b"\x80\xc8" + bytes(60_000), malformed_stun(), bytes(100)],
    ids=["empty", "too long for SRTP", "huge RTCP", "malformed STUN", "zeros"],
)
async def test_datagram_of_a_stranger_ends_no_session(ingest: Ingest, datagram: bytes) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.publish()
            await until(lambda: source.output.frames, "a frame")
            with stranger(publisher) as sender:
                for _ in range(3):
                    sender.send(datagram)
            count = len(source.output.frames)
            await until(lambda: len(source.output.frames) > count + 10, "further frames")
            assert source.error is None


async def test_datagram_of_a_stranger_ends_no_session_that_begins(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.post()
            with stranger(publisher) as sender:
                for datagram in (b"", b"\x80" * 2000, malformed_stun(), b"\x16" * 100):
                    sender.send(datagram)
            await publisher.accept_posted()
            await until(lambda: source.output.frames, "a frame")


async def test_unread_datagrams_are_bounded(nothing_left: None) -> None:
    agent = IceConnection(LocalAddressing())
    await agent.gather_candidates()
    for _ in range(2 * WAITING_DATAGRAMS):
        agent.data_received(b"\x80" * 1200, 1)
    assert agent._queue.qsize() == WAITING_DATAGRAMS
    await agent.close()
    assert agent._queue.qsize() == WAITING_DATAGRAMS + 1  # the end is always reported


async def test_dtls_after_the_handshake_is_bounded(nothing_left: None) -> None:
    agent = IceConnection(LocalAddressing())
    for _ in range(DTLS_DATAGRAMS):
        agent.data_received(b"\x17" * 100, 1)
        agent._queue.get_nowait()
    agent.data_received(b"\x17" * 100, 1)
    assert agent._queue.empty()
    agent.data_received(b"\x80" * 100, 1)
    assert agent._queue.qsize() == 1
    await agent.close()


async def test_only_the_peer_itself_is_listened_to(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        await publisher.publish()
        session = ingest.publishers.session(publisher.session_id)
        assert session is not None
        await until(lambda: session.peer.connected.is_set(), "the connection")
        agent = session.peer._ice
        with stranger(publisher) as sender:
            assert agent.knows(agent._nominated[1].remote_addr)
            assert not agent.knows(sender.getsockname())
            asked = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            sender.send(bytes(asked))  # rejected: the earlier datagrams have been processed
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sender, 1500), 10)
        heard = agent._dtls_datagrams
        assert heard < DTLS_DATAGRAMS
        with stranger(publisher) as sender:
            for _ in range(20):
                sender.send(b"\x16" * 100)
            sender.send(bytes(asked))
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sender, 1500), 10)
        assert agent._dtls_datagrams == heard


async def test_addresses_that_a_peer_shows_are_bounded(ingest: Ingest) -> None:
    async with Publisher(ingest.whip) as publisher:
        await publisher.publish()
        session = ingest.publishers.session(publisher.session_id)
        assert session is not None
        await until(lambda: session.peer.connected.is_set(), "the connection")
        agent = session.peer._ice
        for _ in range(REMOTE_CANDIDATES + 20):
            request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            request.attributes["USERNAME"] = f"{agent.local_username}:{agent.remote_username}"
            request.attributes["PRIORITY"] = 1
            request.attributes["ICE-CONTROLLING"] = 1
            request.add_message_integrity(agent.local_password.encode())
            with stranger(publisher) as sender:
                sender.send(bytes(request))
                # Answered like any other, which proves that it was processed.
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sender, 1500), 10)
        assert len(agent._remote_candidates) == REMOTE_CANDIDATES
        assert len(agent._check_list) <= REMOTE_CANDIDATES


async def test_of_two_restarts_at_once_one_has_to_wait(ingest: Ingest) -> None:
    with ingest.source() as source:
        async with Publisher(ingest.whip) as publisher:
            await publisher.post()
            # The restart waits for a pending check to end.
            unreachable = b"a=candidate:1 1 udp 1 127.0.0.2 9 typ host\r\n"
            trickled = await ingest.whip.patch(
                publisher.session_id, unreachable, SDP_FRAGMENT, publisher.header("ETag")
            )
            assert trickled.status == 204
            session = ingest.publishers.session(publisher.session_id)
            assert session is not None
            pairs = session.peer._ice._check_list
            await until(lambda: [p for p in pairs if p.remote_addr[1] == 9 and p.task], "a check")
            await publisher.accept_posted()
            await until(lambda: source.output.frames, "a frame")
            bodies = [
                b"a=ice-ufrag:" + ufrag + b"\r\na=ice-pwd:" + b"p" * 22
                for ufrag in (b"one1", b"two2")
            ]
            answers = await asyncio.gather(
                *(
                    ingest.whip.patch(publisher.session_id, body, SDP_FRAGMENT, "*")
                    for body in bodies
                )
            )
            assert sorted(answer.status for answer in answers) == [200, 503]
            count = len(source.output.frames)
            await until(lambda: len(source.output.frames) > count + 5, "frames over the old pair")


async def test_address_that_cannot_be_bound_does_not_try_every_port(
    make_ingest: MakeIngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    binds = []
    create = loop.create_datagram_endpoint

    async def counted(*arguments: object, **options: object) -> object:
        binds.append(options)
        return await create(*arguments, **options)

    monkeypatch.setattr(loop, "create_datagram_endpoint", counted)
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["203.0.113.1"])
    ingest = make_ingest(port_minimum=20_000, port_maximum=60_000)
    async with Publisher(ingest.whip) as publisher:
        offer = await publisher.offer()  # without a single address
        binds.clear()
        answer = await ingest.whip.post("cam1", offer, "application/sdp", UNRESTRICTED)
        assert answer.status == 503
        assert answer.detail is not None
        assert "assign requested address" in answer.detail
        assert len(binds) == 1

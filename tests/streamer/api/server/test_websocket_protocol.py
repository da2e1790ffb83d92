"""WebSockets on the wire: many small frames, and messages in many parts."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from streamer.api.server import websocket_protocol
from tests.streamer.api.server.raw import limited, raw
from tests.streamer.api.serving import WAIT_S, serving

PING = b"\x89\x81\0\0\0\0x"  # of one byte, masked
PONG = b"\x8a\x01x"
HANDSHAKE = (
    b"GET /v1/streams/gate/results HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_small_frames_leave_the_event_loop_to_others() -> None:
    async with serving(limited()) as client, raw(client) as flooding:
        await flooding.send(HANDSHAKE)
        assert (await flooding.head())[0] == 101
        flooding.writer.write(PING * 20_000)
        async with asyncio.timeout(WAIT_S):
            assert await flooding.reader.readexactly(3) == PONG  # it is being read
        assert (await client.get("/healthz")).status_code == 200
        answered = 0
        while flooding.reader._buffer:  # type: ignore[attr-defined]
            answered += len(await flooding.reader.read(65_536)) // len(PONG)
        assert answered < 10_000


async def test_large_message_in_some_parts_arrives() -> None:
    body = json.dumps({"boxes": [], "frame_index": 7, "request_id": "r" * 100}) + " " * 500_000
    parts = [body[start : start + 5000] for start in range(0, len(body), 5000)]
    async with serving(limited()) as client:
        url = f"ws://127.0.0.1:{client.base_url.port}/v1/streams/gate/detections"
        async with connect(url) as feed, asyncio.timeout(WAIT_S):
            await feed.send(parts)
            assert json.loads(await feed.recv()) == {"accepted": True, "request_id": "r" * 100}


async def test_message_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_protocol, "FRAGMENTS", 16)
    async with serving(limited()) as client:
        url = f"ws://127.0.0.1:{client.base_url.port}/v1/streams/gate/detections"
        async with connect(url) as feed, asyncio.timeout(WAIT_S):
            await feed.send([""] * 18)
            with pytest.raises(ConnectionClosed) as closed:
                await feed.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008


async def test_client_that_leaves_during_the_handshake_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(limited()) as client:
        for _ in range(20):
            async with raw(client) as leaving:
                await leaving.send(HANDSHAKE)
                leaving.writer.transport.abort()
        assert (await client.get("/healthz")).status_code == 200
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]

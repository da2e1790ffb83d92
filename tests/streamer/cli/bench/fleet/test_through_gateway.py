"""What a gateway costs, where the messages and both ways to them are the test's own."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq
import zmq.asyncio
from websockets.asyncio.server import ServerConnection, serve

from streamer.cli.bench.fleet import through_gateway
from streamer.errors import FleetError

PACE_S = 0.02


@asynccontextmanager
async def publisher() -> AsyncIterator[str]:
    """Sends numbered results, and other messages, over ZeroMQ."""

    async def send(socket: zmq.asyncio.Socket) -> None:
        number = 0
        while True:
            await socket.send_multipart([b"v1/boxes/gate/", b"none of these"])
            await socket.send_multipart([b"v1/frame/gate/", str(number).encode(), b"mask"])
            number += 1
            await asyncio.sleep(PACE_S)

    with zmq.asyncio.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        sending = asyncio.create_task(send(socket))
        yield f"tcp://127.0.0.1:{port}"
        sending.cancel()
        await asyncio.wait({sending})


@asynccontextmanager
async def results() -> AsyncIterator[str]:
    """Sends a status and numbered frames over a WebSocket."""

    async def send(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "status", "stream_id": "gate"}))
        begun_s = asyncio.get_running_loop().time()
        while True:
            number = int((asyncio.get_running_loop().time() - begun_s) / PACE_S)
            frame = {"type": "frame", "stream_id": "gate", "frame_index": number}
            await socket.send(json.dumps(frame))
            await asyncio.sleep(PACE_S)

    async with serve(send, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through_gateway, "MEASURED_S", 0.5)
    monkeypatch.setattr(through_gateway, "READERS", 3)
    monkeypatch.setattr(through_gateway, "_SETTLE_S", 0.1)


async def test_messages_are_matched_and_readers_counted_over_zeromq() -> None:
    async with publisher() as endpoint:
        cost = await through_gateway._cost(
            "ZeroMQ", through_gateway._zeromq, [endpoint], [endpoint], os.getpid()
        )
    assert cost.messages > 0
    assert cost.read > cost.readers == 3
    assert cost.delay_p99_s is not None
    assert cost.core_share is not None


async def test_messages_are_matched_and_readers_counted_over_websockets() -> None:
    async with results() as address:
        cost = await through_gateway._cost(
            "WebSocket", through_gateway._websocket, [address], [address], os.getpid()
        )
    assert cost.messages > 0
    assert cost.read > cost.readers == 3


async def test_a_gateway_through_which_nothing_comes_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(through_gateway, "_START_S", 0.3)
    async with publisher() as endpoint:
        with pytest.raises(FleetError, match=r"no results came through the gateway within 0.3 s"):
            await through_gateway._cost(
                "ZeroMQ", through_gateway._zeromq, [endpoint], ["tcp://127.0.0.1:9"], os.getpid()
            )

"""Messages that never end, over real sockets: their connection is ended, and no other."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
import zmq
import zmq.asyncio

from streamer.client import Subscriber
from streamer.sinks.zeromq import inbound_limit
from tests.streamer.sinks.zeromq.helpers import (
    eventually,
    next_frame,
    publisher,
    send_without_end,
    subscribed,
)
from tests.streamer.wire import wire_samples as samples


async def test_consumer_that_sends_without_end_is_disconnected_and_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with publisher() as sink:
        with Subscriber(sink.endpoint, ["gate"], ["frame"]) as subscriber:
            await subscribed(sink, 2)
            await send_without_end(sink.endpoint, "SUB", 1000)
            await eventually(lambda: "consumers only subscribe" in caplog.text)
            await sink.publish(samples.result())
            assert (await next_frame(subscriber)).header.stream_id == "gate"


async def test_consumer_with_too_many_subscriptions_is_disconnected_and_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with publisher() as sink:
        with Subscriber(sink.endpoint, ["gate"], ["frame"]) as honest:
            await subscribed(sink, 2)
            context = zmq.asyncio.Context()
            greedy = context.socket(zmq.SUB)
            greedy.reconnect_ivl = -1
            greedy.sndhwm = 0  # else libzmq itself drops all but a thousand
            greedy.connect(sink.endpoint)
            for number in range(20_000):
                greedy.subscribe(f"{number:060}")
            await eventually(lambda: "consumers only subscribe" in caplog.text)
            await sink.publish(samples.result())
            assert (await next_frame(honest)).header.stream_id == "gate"
            greedy.close(linger=0)
            context.term()


async def test_connections_that_come_and_go_do_not_hide_one_that_sends_without_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with publisher() as sink:
        port = int(sink.endpoint.rpartition(":")[2])
        for _ in range(1200):  # two events each: more than wait in a monitor's queue
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await reader.readexactly(1) == b"\xff"  # libzmq's greeting
            writer.close()
        await send_without_end(sink.endpoint, "SUB", 1000)
        await eventually(lambda: "consumers only subscribe" in caplog.text)


@pytest.mark.parametrize("answer", [bytes(104), OSError(92, "Protocol not available")])
async def test_kernel_without_byte_counts_ends_no_connection(
    answer: bytes | OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def received(connection: socket.socket) -> int:
        asked.append(connection)
        if isinstance(answer, OSError):
            raise answer
        return inbound_limit.received_bytes_of(answer)

    monkeypatch.setattr(inbound_limit, "received_bytes", received)
    async with publisher() as sink:
        with Subscriber(sink.endpoint, ["gate"], ["frame"]) as subscriber:
            await subscribed(sink, 2)
            await eventually(lambda: asked)
            await sink.publish(samples.result())
            assert (await next_frame(subscriber)).header.stream_id == "gate"

"""A running publisher for tests, and waiting on an event loop without sleeping blindly."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TypeVar

import pytest

from streamer.client import Subscriber
from streamer.config.schema import ZeroMQConfig
from streamer.runtime.metrics import Metrics
from streamer.sinks.zeromq.sink import ZeroMQSink
from streamer.types import StreamStatus
from streamer.wire.codec import FrameMessage, Message
from tests.streamer.wire import wire_samples as samples

T = TypeVar("T")
LOOPBACK = "tcp://127.0.0.1:*"
# Long enough that no test sees one unless it asks for it.
NEVER_S = 3600.0


@asynccontextmanager
async def publisher(
    endpoint: str = LOOPBACK,
    *,
    heartbeat_s: float = NEVER_S,
    status_s: float = NEVER_S,
    status_provider: Callable[[], Iterable[StreamStatus]] = tuple,
    metrics: Metrics | None = None,
    publisher_id: str = "masklet-test",
    **config: object,
) -> AsyncIterator[ZeroMQSink]:
    """A ``ZeroMQSink`` that is started, and closed at the end."""
    sink = ZeroMQSink(
        ZeroMQConfig(endpoint=endpoint, **config),  # type: ignore[arg-type]
        publisher_id=publisher_id,
        metrics=metrics,
        status_provider=status_provider,
        heartbeat_s=heartbeat_s,
        status_s=status_s,
    )
    await sink.start()
    try:
        yield sink
    finally:
        await sink.close()


async def send_without_end(endpoint: str, socket_type: str, part_bytes: int) -> None:
    """Send a message that never ends, until the connection is ended by the other side.

    In ZMTP 3.0 (ZeroMQ RFC 23) with the NULL mechanism: libzmq itself sends whole messages only.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", int(endpoint.rpartition(":")[2]))
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    kind = socket_type.encode()
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    writer.write(greeting + b"\x04" + bytes([len(ready)]) + ready)
    await reader.readexactly(len(greeting) + 2)  # the other side's: it is ready as well then
    part = b"\x03" + part_bytes.to_bytes(8, "big") + bytes(part_bytes)  # long, more to come
    try:
        async with asyncio.timeout(60):
            while True:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
    except ConnectionError:
        return
    finally:
        writer.close()


async def eventually(condition: Callable[[], T], timeout_s: float = 20.0) -> T:
    """The first true value of ``condition``, letting the event loop run in between."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {timeout_s:g} s")
        await asyncio.sleep(0.005)
    return value


async def subscribed(sink: ZeroMQSink, prefixes: int) -> None:
    """Wait until the publisher has heard of this many different subscriptions."""
    await eventually(lambda: sink.subscriptions >= prefixes)


async def next_message(subscriber: Subscriber) -> Message:
    """The next message; fails the test when none comes."""
    message = await subscriber.receive_async(timeout_s=20.0)
    assert message is not None, "nothing arrived"
    return message


async def next_frame(subscriber: Subscriber) -> FrameMessage:
    """The next message, which must be a frame."""
    message = await next_message(subscriber)
    assert isinstance(message, FrameMessage), message
    return message


@contextmanager
def background_publisher(**config: object) -> Iterator[str]:
    """A publisher in a thread of its own; gives its endpoint.

    It sends the state of stream ``gate`` and an event, and then 50 results a second, every tenth
    with an event.
    """
    ready: Future[str] = Future()
    stop = threading.Event()

    async def publish_until_stopped() -> None:
        async with publisher(heartbeat_s=0.1, **config) as sink:  # type: ignore[arg-type]
            await sink.publish(samples.status())
            await sink.publish(samples.event())
            ready.set_result(sink.endpoint)
            for index in itertools.count():
                if stop.is_set():
                    return
                await sink.publish(samples.result(index, dropped={"superseded": 1}))
                if index % 10 == 0:
                    gone = replace(samples.event(), reason="left_picture", absent_s=0.08)
                    await sink.publish(gone)
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(publish_until_stopped()))
    thread.start()
    try:
        yield ready.result(timeout=20)
    finally:
        stop.set()
        thread.join()

"""Too many connections, over real sockets: who only holds them keeps nobody out."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from streamer.cli.keys import make_all_keys
from streamer.client import Subscriber
from streamer.runtime.metrics import Metrics
from streamer.sinks.zeromq import bound_socket
from streamer.sinks.zeromq.sink import ZeroMQSink
from tests.streamer.sinks.zeromq.helpers import eventually, next_frame, publisher, subscribed
from tests.streamer.wire import wire_samples as samples


def connect(sink: ZeroMQSink, stack: ExitStack, own_address: str = "127.0.0.1") -> socket.socket:
    """A connection that says nothing."""
    port = int(sink.endpoint.rpartition(":")[2])
    made = socket.create_connection(("127.0.0.1", port), source_address=(own_address, 0))
    made.setblocking(False)
    return stack.enter_context(made)


def is_open(connection: socket.socket) -> bool:
    """Whether the daemon still holds it; its greeting is read."""
    try:
        while received := connection.recv(1024):
            assert received[:1] == b"\xff"
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    return False


async def receives(sink: ZeroMQSink, subscriber: Subscriber) -> None:
    await subscribed(sink, 2)
    await sink.publish(samples.result())
    assert (await next_frame(subscriber)).header.stream_id == "gate"


async def test_connections_of_one_address_are_bounded_and_consumers_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with publisher(max_connections_per_address=4) as sink:
        with ExitStack() as stack:
            first = stack.enter_context(Subscriber(sink.endpoint, ["gate"], ["frame"]))
            await receives(sink, first)
            silent = [connect(sink, stack) for _ in range(30)]
            await eventually(lambda: sum(map(is_open, silent)) <= 3)
            elsewhere = connect(sink, stack, "127.0.0.2")
            late = stack.enter_context(Subscriber(sink.endpoint, ["gate"], ["frame"]))
            await receives(sink, late)
            await receives(sink, first)
            assert is_open(elsewhere)
    assert "zeromq.max_connections_per_address allows" in caplog.text
    assert "from 127.0.0.1" in caplog.text


async def test_connections_of_all_addresses_are_bounded_and_consumers_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with publisher(max_connections=8) as sink:
        with ExitStack() as stack:
            first = stack.enter_context(Subscriber(sink.endpoint, ["gate"], ["frame"]))
            await receives(sink, first)
            silent = [connect(sink, stack, f"127.0.1.{n}") for n in range(1, 31)]
            await eventually(lambda: sum(map(is_open, silent)) <= 7)
            late = stack.enter_context(Subscriber(sink.endpoint, ["gate"], ["frame"]))
            await receives(sink, late)
            await receives(sink, first)
    assert "zeromq.max_connections allows" in caplog.text


async def test_consumer_beyond_the_bound_does_not_end_one_that_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    async with publisher(max_connections=1, metrics=metrics) as sink:
        with Subscriber(sink.endpoint, ["gate"], ["frame"]) as first:
            await receives(sink, first)
            with Subscriber(sink.endpoint, ["gate"], ["frame"]):
                await eventually(lambda: "zeromq.max_connections allows" in caplog.text)
                await receives(sink, first)
    ended = metrics.zmq_connections_ended.labels("too_many")
    assert ended._value.get() >= 1


async def test_connection_without_a_handshake_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound_socket, "HANDSHAKE_TIMEOUT_MS", 200)
    async with publisher() as sink:
        with ExitStack() as stack:
            connection = connect(sink, stack)
            await eventually(lambda: not is_open(connection))


@contextmanager
def few_descriptors(free: int) -> Iterator[None]:
    """Let this process have so many file descriptors more than now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    unused = (number for number in itertools.count() if number not in in_use)
    last = next(itertools.islice(unused, free, None))
    resource.setrlimit(resource.RLIMIT_NOFILE, (last, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def take_all_descriptors(stack: ExitStack) -> None:
    while True:
        stack.callback(os.close, os.dup(0))


async def test_time_without_descriptors_is_over_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that came meanwhile get in, and a key that is removed is still watched."""
    keys = tmp_path / "keys"
    make_all_keys(keys, ["laptop", "wall"])
    async with publisher(
        server_key_file=str(keys / "server.key_secret"),
        client_keys_directory=str(keys / "clients"),
    ) as sink:

        def subscriber(name: str) -> Subscriber:
            return Subscriber(
                sink.endpoint,
                ["gate"],
                ["frame"],
                server_key=keys / "server.key",
                client_keys=keys / f"{name}.key_secret",
            )

        with ExitStack() as stack:
            laptop = stack.enter_context(subscriber("laptop"))
            await receives(sink, laptop)
            wall = stack.enter_context(subscriber("wall"))
            with few_descriptors(free=3):
                taken = stack.enter_context(ExitStack())
                with pytest.raises(OSError, match="Too many open files"):
                    take_all_descriptors(taken)
                await asyncio.sleep(1)  # clients ask, and connections are checked, in vain
                taken.close()
            await receives(sink, wall)
            (keys / "clients" / "laptop.key").unlink()
            await eventually(lambda: "a client was disconnected" in caplog.text)
            await receives(sink, wall)

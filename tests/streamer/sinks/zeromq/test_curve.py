"""Encryption and the allow-list over real sockets: accepted and rejected clients."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection
from pathlib import Path

import pytest
import zmq

from streamer.cli.keys import make_all_keys
from streamer.client import Subscriber
from streamer.errors import ConfigError, SecurityError
from streamer.runtime.curve_keys import AllowList, allow_client, load_public_key, make_keys
from streamer.sinks.zeromq.sink import ZeroMQSink
from streamer.wire.codec import EventMessage
from tests.streamer.sinks.zeromq.helpers import eventually, next_message, publisher, subscribed
from tests.streamer.wire import wire_samples as samples


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a server's keys and one allowed client, ``laptop``."""
    folder = tmp_path / "keys"
    make_all_keys(folder, ["laptop"])
    return folder


def encrypted(keys: Path) -> dict[str, str]:
    return {
        "server_key_file": str(keys / "server.key_secret"),
        "client_keys_directory": str(keys / "clients"),
    }


def laptop(sink: ZeroMQSink, keys: Path) -> Subscriber:
    return Subscriber(
        sink.endpoint,
        topics=["event"],
        server_key=keys / "server.key",
        client_keys=keys / "laptop.key_secret",
    )


async def nothing_arrives(sink: ZeroMQSink, refused: Subscriber, allowed: Subscriber) -> None:
    """``allowed`` receives what is published, ``refused`` does not even get to subscribe."""
    await subscribed(sink, 2)
    await sink.publish(samples.event())
    assert isinstance(await next_message(allowed), EventMessage)
    assert await refused.receive_async(timeout_s=0.2) is None
    assert refused.silent_for_s is None


async def test_a_client_on_the_list_receives(keys: Path) -> None:
    async with publisher(**encrypted(keys)) as sink:
        with laptop(sink, keys) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.event())
            assert isinstance(await next_message(subscriber), EventMessage)


async def test_with_keys_every_address_may_be_bound(keys: Path) -> None:
    async with publisher("tcp://0.0.0.0:*", **encrypted(keys)) as sink:
        port = sink.endpoint.rpartition(":")[2]
        with Subscriber(
            f"tcp://127.0.0.1:{port}",
            topics=["event"],
            server_key=keys / "server.key",
            client_keys=keys / "laptop.key_secret",
        ) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.event())
            assert isinstance(await next_message(subscriber), EventMessage)


async def test_a_client_that_is_not_on_the_list_receives_nothing_and_is_reported(
    keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = make_keys(tmp_path / "stranger", "stranger")
    caplog.set_level(logging.WARNING)
    async with publisher(**encrypted(keys)) as sink:
        refused = Subscriber(
            sink.endpoint, server_key=keys / "server.key", client_keys=stranger.secret
        )
        with refused, laptop(sink, keys) as allowed:
            await eventually(lambda: "not on the allow-list" in caplog.text)
            await nothing_arrives(sink, refused, allowed)


async def test_a_client_that_is_added_while_the_daemon_runs_gets_in(
    keys: Path, tmp_path: Path
) -> None:
    async with publisher(**encrypted(keys)) as sink:
        wall = make_keys(tmp_path / "wall", "wall")
        allow_client(keys / "clients", "wall", wall.public)
        with Subscriber(
            sink.endpoint, topics=["event"], server_key=keys / "server.key", client_keys=wall.secret
        ) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.event())
            assert isinstance(await next_message(subscriber), EventMessage)


async def test_client_removed_from_the_list_stops_receiving_and_others_continue(
    keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_all_keys(keys, ["wall"])
    async with publisher(**encrypted(keys)) as sink:
        wall = Subscriber(
            sink.endpoint,
            topics=["event"],
            server_key=keys / "server.key",
            client_keys=keys / "wall.key_secret",
        )
        with laptop(sink, keys) as removed, wall:
            await subscribed(sink, 2)
            for index in itertools.count():  # until both have subscribed
                await sink.publish(samples.event())
                both = [await each.receive_async(timeout_s=0.1) for each in (removed, wall)]
                if all(both):
                    break
                assert index < 200, "a client receives nothing"
            listed = keys / "clients" / "laptop.key"
            key = load_public_key(listed)
            listed.rename(keys / "away")
            await eventually(lambda: "a client was disconnected" in caplog.text)
            assert f"(public key {key.decode()})" in caplog.text
            await eventually(lambda: "key is not on the allow-list was refused" in caplog.text)
            while await removed.receive_async(timeout_s=0.05) is not None:
                pass  # messages in flight
            await sink.publish(samples.event())
            assert isinstance(await next_message(wall), EventMessage)
            assert await removed.receive_async(timeout_s=0.2) is None
        assert caplog.text.count("a client was disconnected") == 1


async def test_answer_that_fails_keeps_nobody_out_for_good(
    keys: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    allows = AllowList.allows
    failures = iter([OSError("no memory")])

    def fails_once(self: AllowList, public_key: bytes) -> bool:
        for failure in failures:
            raise failure
        return allows(self, public_key)

    monkeypatch.setattr(AllowList, "allows", fails_once)
    async with publisher(**encrypted(keys)) as sink:
        with laptop(sink, keys):
            await eventually(lambda: "could not answer a client" in caplog.text)
            with laptop(sink, keys) as second:
                await subscribed(sink, 2)
                await sink.publish(samples.event())
                assert isinstance(await next_message(second), EventMessage)


async def test_quickly_replaced_list_disconnects_no_client(
    keys: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[frozenset[bytes]] = []

    def missing(self: AllowList, public_keys: Collection[bytes]) -> frozenset[bytes]:
        readings.append(frozenset(public_keys) if len(readings) == 1 else frozenset())
        return readings[-1]

    monkeypatch.setattr(AllowList, "missing", missing)
    async with publisher(**encrypted(keys)) as sink:
        with laptop(sink, keys) as subscriber:
            await subscribed(sink, 2)
            await eventually(lambda: len(readings) >= 4)
            await sink.publish(samples.event())
            assert isinstance(await next_message(subscriber), EventMessage)
    assert len(readings[1]) == 1
    assert "disconnected" not in caplog.text


async def test_a_client_that_takes_another_server_for_ours_receives_nothing(
    keys: Path, tmp_path: Path
) -> None:
    other = make_keys(tmp_path / "other", "server")
    async with publisher(**encrypted(keys)) as sink:
        refused = Subscriber(
            sink.endpoint, server_key=other.public, client_keys=keys / "laptop.key_secret"
        )
        with refused, laptop(sink, keys) as allowed:
            await nothing_arrives(sink, refused, allowed)


async def test_a_client_without_keys_receives_nothing(keys: Path) -> None:
    async with publisher(**encrypted(keys)) as sink:
        with Subscriber(sink.endpoint) as refused, laptop(sink, keys) as allowed:
            await nothing_arrives(sink, refused, allowed)


async def test_nothing_is_readable_on_the_wire(keys: Path) -> None:
    """A relay between client and publisher sees no word of what is published."""
    async with publisher(**encrypted(keys)) as sink:
        port = int(sink.endpoint.rpartition(":")[2])
        seen = bytearray()
        relays: set[asyncio.Task[None]] = set()

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                seen.extend(data)
                writer.write(data)
            writer.close()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
            for pair in ((reader, upstream_writer), (upstream_reader, writer)):
                relays.add(asyncio.ensure_future(pump(*pair)))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        relay_port = server.sockets[0].getsockname()[1]
        with Subscriber(
            f"tcp://127.0.0.1:{relay_port}",
            topics=["event"],
            server_key=keys / "server.key",
            client_keys=keys / "laptop.key_secret",
        ) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.event())
            assert isinstance(await next_message(subscriber), EventMessage)
        server.close()
        await asyncio.wait(relays, timeout=20)
    assert len(seen) > 200
    assert b"keeper" not in seen
    assert b"v1/event" not in seen


@pytest.mark.parametrize("missing", ["server_key_file", "client_keys_directory"])
async def test_half_of_the_keys_is_refused(keys: Path, missing: str) -> None:
    config = encrypted(keys)
    del config[missing]
    with pytest.raises(SecurityError, match=f"zeromq.{missing} is not set.*masklet keys"):
        async with publisher(**config):
            pass


def test_a_client_needs_both_the_servers_key_and_its_own(keys: Path) -> None:
    with pytest.raises(ConfigError, match="CURVE needs both"):
        Subscriber("tcp://127.0.0.1:1", server_key=keys / "server.key")


def test_this_zeromq_has_curve() -> None:
    assert zmq.has("curve")

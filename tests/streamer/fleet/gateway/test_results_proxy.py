"""Results of several publishers on one endpoint, over real sockets and with real keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from streamer.cli.keys import make_all_keys
from streamer.client import Subscriber
from streamer.config.schema import ZeroMQConfig
from streamer.errors import SecurityError
from streamer.fleet.gateway.results_proxy import ResultsProxy
from streamer.fleet.view import FleetView, Worker, WorkerAccess, WorkerState
from streamer.runtime.curve_keys import load_key_pair, load_public_key, make_keys
from streamer.sinks.zeromq.sink import ZeroMQSink
from streamer.wire.messages import EventMessage
from tests.streamer.sinks.zeromq.helpers import (
    eventually,
    next_frame,
    publisher,
    subscribed,
)
from tests.streamer.wire import wire_samples as samples


@asynccontextmanager
async def proxy(**config: object) -> AsyncIterator[ResultsProxy]:
    """A proxy on loopback that knows no worker yet."""
    made = ResultsProxy(ZeroMQConfig(**{"endpoint": "tcp://127.0.0.1:*"} | config))  # type: ignore[arg-type]
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def view(*sinks: ZeroMQSink, server_key: str | None = None) -> FleetView:
    """A fleet of these publishers."""
    workers = [
        Worker(f"w{index}", "n", WorkerState.READY, zeromq=sink.endpoint, server_key=server_key)
        for index, sink in enumerate(sinks)
    ]
    return FleetView("yard", 1, tuple(workers))


def encrypted(keys: Path) -> dict[str, str]:
    return {
        "server_key_file": str(keys / "server.key_secret"),
        "client_keys_directory": str(keys / "clients"),
    }


def client(endpoint: str, keys: Path, name: str) -> Subscriber:
    return Subscriber(
        endpoint,
        topics=["event"],
        server_key=keys / "server.key",
        client_keys=keys / f"{name}.key_secret",
    )


async def test_a_subscriber_sees_every_worker_and_counts_the_losses_of_each() -> None:
    async with (
        publisher(publisher_id="w0") as first,
        publisher(publisher_id="w1") as second,
        proxy() as results,
    ):
        results.follow(view(first, second), WorkerAccess())
        with Subscriber(results.endpoint, streams=["gate"], topics=["frame"]) as subscriber:
            await subscribed(first, 2)
            await subscribed(second, 2)
            seen = []
            for index in range(3):
                for sink in (first, second):
                    await sink.publish(samples.result(index))
                    frame = await next_frame(subscriber)
                    seen.append((frame.header.publisher_id, frame.header.seq))
                    assert frame.mask(frame.objects[0]).any()
            assert seen == [(name, seq) for seq in range(3) for name in ("w0", "w1")]
            assert (subscriber.lost, subscriber.restarts) == ({}, 0)
            # A worker that goes, and one that is lost, are no matter of the other's.
            results.follow(view(first), WorkerAccess())
            await first.publish(samples.result(3))
            assert (await next_frame(subscriber)).header.publisher_id == "w0"
            assert subscriber.lost == {}


async def test_a_late_joiner_gets_its_replay_and_nothing_is_encoded_once_all_are_gone() -> None:
    async with publisher() as sink, proxy() as results:
        results.follow(view(sink), WorkerAccess())
        with Subscriber(results.endpoint, topics=["frame"]) as early:
            await subscribed(sink, 2)
            await sink.publish(samples.result(0))
            await next_frame(early)
            with Subscriber(results.endpoint, topics=["frame"]) as late:
                assert (await next_frame(late)).header.replayed
            await sink.publish(samples.result(1))
            assert (await next_frame(early)).header.seq == 1
        await eventually(lambda: sink.subscriptions == 0)


async def test_a_subscriber_that_reads_nothing_delays_no_other() -> None:
    async with publisher() as sink, proxy(high_water_mark=4) as results:
        results.follow(view(sink), WorkerAccess())
        with (
            Subscriber(results.endpoint, topics=["frame"], high_water_mark=1),
            Subscriber(results.endpoint, topics=["frame"]) as quick,
        ):
            await subscribed(sink, 2)
            last = -1
            for index in range(300):
                await sink.publish(samples.result(index))
                last = (await next_frame(quick)).header.seq
            assert last == 299
            assert quick.lost == {}


async def test_curve_holds_on_both_sides_and_a_revoked_key_is_disconnected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    make_all_keys(inside, ["gateway"])
    make_all_keys(outside, ["laptop", "tablet"])
    stranger = make_keys(tmp_path / "stranger", "stranger")
    pair = load_key_pair(inside / "gateway.key_secret")
    access = WorkerAccess(None, pair.public.decode(), pair.secret.decode())
    key = load_public_key(inside / "server.key").decode()
    async with (
        publisher(**encrypted(inside)) as sink,  # type: ignore[arg-type]
        proxy(endpoint="tcp://0.0.0.0:*", **encrypted(outside)) as results,
    ):
        endpoint = f"tcp://127.0.0.1:{results.endpoint.rpartition(':')[2]}"
        results.follow(view(sink, server_key=key), access)
        with (
            client(endpoint, outside, "laptop") as laptop,
            client(endpoint, outside, "tablet") as tablet,
            Subscriber(endpoint, topics=["event"]) as plain,
            Subscriber(
                endpoint,
                topics=["event"],
                server_key=outside / "server.key",
                client_keys=stranger.secret,
            ) as refused,
        ):
            await eventually(lambda: "not on the allow-list" in caplog.text)
            await subscribed(sink, 2)
            for each in (laptop, tablet):  # each has subscribed once its own copy arrives
                while await each.receive_async(timeout_s=0.05) is None:
                    await sink.publish(samples.event())
            assert plain.silent_for_s is None
            assert refused.silent_for_s is None

            (outside / "clients" / "tablet.key").unlink()
            await eventually(lambda: "every client connects anew" in caplog.text)
            await _drained(tablet)
            got_again = False
            async with asyncio.timeout(60):
                while not got_again:
                    await sink.publish(samples.event())
                    message = await laptop.receive_async(timeout_s=0.1)
                    got_again = isinstance(message, EventMessage)
            assert await tablet.receive_async(timeout_s=0.1) is None


async def test_workers_with_and_without_a_key_are_read_during_a_roll(tmp_path: Path) -> None:
    make_all_keys(tmp_path, ["gateway"])
    pair = load_key_pair(tmp_path / "gateway.key_secret")
    access = WorkerAccess(None, pair.public.decode(), pair.secret.decode())
    key = load_public_key(tmp_path / "server.key").decode()
    async with (
        publisher(publisher_id="w0", **encrypted(tmp_path)) as keyed,  # type: ignore[arg-type]
        publisher(publisher_id="w1") as plain,
        proxy() as results,
    ):
        workers = view(keyed, plain).workers
        mixed = replace(view(), workers=(replace(workers[0], server_key=key), workers[1]))
        results.follow(mixed, access)
        with Subscriber(results.endpoint, topics=["frame"]) as subscriber:
            for sink, name in ((keyed, "w0"), (plain, "w1")):
                await subscribed(sink, 2)
                await sink.publish(samples.result(0))
                assert (await next_frame(subscriber)).header.publisher_id == name


async def test_an_open_address_without_keys_is_refused() -> None:
    with pytest.raises(SecurityError, match="masklet keys"):
        ResultsProxy(ZeroMQConfig(endpoint="tcp://0.0.0.0:5555"))


async def test_connections_are_bounded_and_consumers_only_subscribe(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        publisher() as sink,
        proxy(max_connections_per_address=3, subscription_kib=1) as results,
    ):
        results.follow(view(sink), WorkerAccess())
        with Subscriber(results.endpoint, topics=["frame"]) as subscriber:
            await subscribed(sink, 2)
            await sink.publish(samples.result(0))
            await next_frame(subscriber)
            context = zmq.Context()
            try:
                greedy = context.socket(zmq.SUB)
                greedy.connect(results.endpoint)
                for number in range(100):
                    greedy.subscribe(f"v1/frame/{number:040}/".encode())
                await eventually(lambda: "consumers only subscribe" in caplog.text)
                greedy.close(linger=0)
                many = [context.socket(zmq.SUB) for _ in range(6)]
                for each in many:
                    each.connect(results.endpoint)
                await eventually(lambda: "max_connections_per_address allows" in caplog.text)
                for index in range(1, 30):
                    await sink.publish(samples.result(index))
                    while (await next_frame(subscriber)).header.seq != index:
                        pass
            finally:
                context.destroy(linger=0)
        assert subscriber.lost == {}


async def _drained(subscriber: Subscriber) -> None:
    while await subscriber.receive_async(timeout_s=0.0) is not None:
        pass

"""Peers on the loopback interface, and proof that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamer.api.webrtc.publishers import Publishers
from streamer.api.webrtc.whip import Whip
from streamer.config.network import WebRTCConfig
from streamer.config.streams import StreamConfig
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from tests.streamer.sources.recorder import RunningSource
from tests.streamer.webrtc.waiting import until


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves this address out; with it no test depends on the machine's network."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def open_sockets() -> int:
    """How many sockets this process holds."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += os.readlink(entry).startswith("socket:")
        except OSError:
            continue
    return count


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fail a test that leaves tasks, sockets or an unhandled error behind."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    tasks_before, sockets_before = asyncio.all_tasks(), open_sockets()
    yield
    await until(
        lambda: not (asyncio.all_tasks() - tasks_before - {asyncio.current_task()}),
        lambda: f"the end of {asyncio.all_tasks() - tasks_before - {asyncio.current_task()}}",
    )
    await until(lambda: open_sockets() <= sockets_before, "all sockets closed")
    assert not errors


@dataclass
class Ingest:
    """WHIP for streams of which every id is known."""

    config: WebRTCConfig
    stream_config: StreamConfig
    publishers: Publishers
    whip: Whip
    metrics: Metrics = field(repr=False)

    def source(self, stream_id: str = "cam1") -> RunningSource:
        """The stream's source, to be run in its thread with ``with``."""
        return RunningSource(self.publishers.source(stream_id, self.stream_config))

    @property
    def publisher_count(self) -> float:
        """The value of the metric."""
        value = self.metrics.registry.get_sample_value(
            "masklet_webrtc_peers", {"kind": "publisher"}
        )
        assert value is not None
        return value


MakeIngest = Callable[..., Ingest]


@pytest.fixture
async def make_ingest(nothing_left: None) -> AsyncIterator[MakeIngest]:
    """``make_ingest(**settings of webrtc)``; closed at the end."""
    made: list[Ingest] = []

    def make(**settings: object) -> Ingest:
        config = WebRTCConfig(**settings)  # type: ignore[arg-type]
        stream_config = StreamConfig(url="whip://")
        metrics = Metrics()
        publishers = Publishers(config, metrics, SystemClock())
        whip = Whip(publishers, stream_config=lambda _: stream_config, begin_stream=None)
        made.append(Ingest(config, stream_config, publishers, whip, metrics))
        return made[-1]

    yield make
    for ingest in made:
        await ingest.publishers.close()
        assert ingest.publisher_count == 0


@pytest.fixture
def ingest(make_ingest: MakeIngest) -> Ingest:
    """With the defaults."""
    return make_ingest()

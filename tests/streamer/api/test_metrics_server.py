"""The metrics on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from streamer.api import metrics_server
from streamer.api.metrics_server import MetricsServer
from streamer.errors import ConfigError
from streamer.runtime.metrics import Metrics


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    metrics = Metrics()
    metrics.stream_up.labels("gate").set(1)
    made = MetricsServer(metrics, "127.0.0.1", 0)
    made.start()
    yield made
    await made.close()


async def test_page_holds_the_metrics(server: MetricsServer) -> None:
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.get(server.endpoint)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert 'masklet_stream_up{stream="gate"} 1.0' in answer.text
        assert (await client.post(server.endpoint)).status_code == 405


async def test_port_in_use_is_an_error_that_names_the_key(server: MetricsServer) -> None:
    port = httpx.URL(server.endpoint).port
    assert port is not None
    with pytest.raises(ConfigError, match=r"metrics\.port: cannot listen on 127\.0\.0\.1"):
        MetricsServer(Metrics(), "127.0.0.1", port).start()


async def test_silent_connection_is_cut_and_delays_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "IDLE_TIMEOUT_S", 0.1)
    server = MetricsServer(Metrics(), "127.0.0.1", 0)
    server.start()
    port = httpx.URL(server.endpoint).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET ")
    async with httpx.AsyncClient(timeout=20) as client:
        assert (await client.get(server.endpoint)).status_code == 200
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    await server.close()

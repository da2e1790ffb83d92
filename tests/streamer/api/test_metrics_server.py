"""The metrics on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from streamer.api.metrics_server import CONNECTIONS, MetricsServer
from streamer.api.server import idle_connections
from streamer.errors import ConfigError
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics

WAIT_S = 20.0


@pytest.fixture
def missing() -> list[str]:
    """The parts that do not run; a test changes it."""
    return []


@pytest.fixture
async def server(missing: list[str]) -> AsyncIterator[MetricsServer]:
    metrics = Metrics()
    metrics.stream_up.labels("gate").set(1)
    made = MetricsServer(metrics, "127.0.0.1", 0, SystemClock(), lambda: list(missing))
    await made.start()
    run = asyncio.create_task(made.run())
    yield made
    run.cancel()
    await made.close(1.0)
    await asyncio.wait({run})


async def test_page_holds_the_metrics(server: MetricsServer) -> None:
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        answer = await client.get(server.endpoint)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'masklet_stream_up{stream="gate"} 1.0' in answer.text
        assert (await client.head(server.endpoint)).headers["content-type"].startswith("text/plain")
        assert (await client.post(server.endpoint)).status_code == 405
        missing = await client.get(server.endpoint.replace("/metrics", "/"))
        assert (missing.status_code, missing.json()["detail"]) == (
            404,
            "the metrics are at /metrics",
        )


async def test_probes_need_no_token_and_tell_starting_from_dead(
    server: MetricsServer, missing: list[str]
) -> None:
    base = server.endpoint.removesuffix("/metrics")
    async with httpx.AsyncClient(base_url=base, timeout=WAIT_S) as client:
        missing.append("warm-up")
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        waiting = await client.get("/readyz")
        assert (waiting.status_code, waiting.json()["detail"]) == (503, "not running: warm-up")
        missing.clear()
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.post("/readyz")).status_code == 405


async def test_page_of_another_name_reads_nothing(server: MetricsServer) -> None:
    """A name that was made to point here: DNS rebinding."""
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        for host in ("evil.example", "localhost.evil.example:80", "192.0.2.1"):
            refused = await client.get(server.endpoint, headers={"Host": host})
            assert (refused.status_code, refused.text) == (400, "Invalid host header")
        for host in ("localhost:9464", "127.0.0.1"):
            answer = await client.get(server.endpoint, headers={"Host": host})
            assert answer.status_code == 200
        foreign = await client.get(server.endpoint, headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


async def test_port_in_use_is_an_error_that_names_the_key(server: MetricsServer) -> None:
    port = httpx.URL(server.endpoint).port
    assert port is not None
    with pytest.raises(ConfigError, match=r"metrics\.port: cannot listen on 127\.0\.0\.1"):
        await MetricsServer(Metrics(), "127.0.0.1", port, SystemClock(), list).start()


async def test_silent_connections_are_few_and_delay_nothing(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_connections, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(idle_connections, "HEAD_TIMEOUT_S", 0.2)
    port = httpx.URL(server.endpoint).port
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5 * CONNECTIONS)]
    for _, writer in silent:
        writer.write(b"GET ")
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(reader.read() for reader, _ in silent), return_exceptions=True)
    async with httpx.AsyncClient(timeout=WAIT_S) as client:
        assert (await client.get(server.endpoint)).status_code == 200
    for _, writer in silent:
        writer.transport.abort()

"""Connections: their number, idle time and end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
from contextlib import AsyncExitStack

import httpx
import pytest

from streamer.api.server import connections, idle_connections
from streamer.api.server.server import UNREAD_TIMEOUT_S, tcp_sockets
from streamer.config.network import ApiConfig
from streamer.errors import ConfigError
from tests.streamer.api.server.raw import REQUEST, limited, raw
from tests.streamer.api.serving import WAIT_S, FakeDaemon, make_api, problem, serving, with_tokens


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "CHECK_INTERVAL_S", 0.01)


async def test_one_client_may_hold_half_of_the_requests() -> None:
    async with serving(limited(connections=4)) as client:
        async with client.stream("GET", "/v1/events"), client.stream("GET", "/v1/events"):
            refused = problem(await client.get("/healthz"), 503, "busy")
            assert "2 requests of 127.0.0.1 are being answered" in refused["detail"]
            async with raw(client, "127.0.0.2") as other:
                await other.send(REQUEST)
                assert (await other.answer())[0] == 200
        while (await client.get("/healthz")).status_code == 503:  # until the server has noticed
            pass


@pytest.mark.usefixtures("quick_checks")
async def test_idle_connections_above_the_share_of_a_client_are_closed() -> None:
    async with serving(limited(connections=8)) as client, AsyncExitStack() as stack:
        other = await stack.enter_async_context(raw(client, "127.0.0.2"))
        held = [await stack.enter_async_context(raw(client)) for _ in range(30)]
        ended = {asyncio.create_task(each.is_closed()) for each in held}
        async with asyncio.timeout(WAIT_S):
            while len(ended) > 4:
                _, ended = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        await other.send(REQUEST)
        assert (await other.answer())[0] == 200
        for task in ended:
            task.cancel()


async def test_connections_far_above_the_limit_are_refused() -> None:
    """Between two checks of the idle ones, too; others still get an answer."""
    async with serving(limited(connections=4)) as client, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(raw(client)) for _ in range(60)]
        ended = {asyncio.create_task(each.is_closed()) for each in held}
        async with asyncio.timeout(WAIT_S):
            while len(ended) > 8:
                _, ended = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        other = await stack.enter_async_context(raw(client, "127.0.0.2"))
        await other.send(REQUEST)
        assert (await other.answer())[0] == 200
        for task in ended:
            task.cancel()


async def test_no_descriptors_left_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "_EXHAUSTED_PAUSE_S", 0.01)
    async with serving(limited()) as client:
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED, errno.ENOBUFS]

        async def failing(listening: socket.socket) -> tuple[socket.socket, object]:
            accepted = await accept(listening)
            if failures:
                accepted[0].close()
                raise OSError(failures.pop(), "exhausted")
            return accepted

        monkeypatch.setattr(loop, "sock_accept", failing)
        with caplog.at_level("WARNING"):
            for _ in range(5):
                with contextlib.suppress(httpx.TransportError):
                    await client.get("/healthz", headers={"Connection": "close"})
        assert not failures
        assert (await client.get("/healthz")).status_code == 200
    assert "connections wait until others end" in caplog.text


@pytest.mark.usefixtures("quick_checks")
async def test_request_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "HEAD_TIMEOUT_S", 0.1)
    async with serving(limited()) as client:
        for said in (b"", b"GET /healthz HTTP/1.1\r\nHost: loc", REQUEST + b"GET /h"):
            async with raw(client) as slow:
                await slow.send(said)
                if said.startswith(REQUEST):
                    assert (await slow.answer())[0] == 200
                assert await slow.is_closed()


@pytest.mark.usefixtures("quick_checks")
async def test_pending_request_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "HEAD_TIMEOUT_S", 0.05)
    async with serving(limited()) as client, raw(client) as events, raw(client) as idle:
        await events.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await events.head())[0] == 200
        assert await idle.is_closed()
        assert not events.reader.at_eof()


async def test_no_header_can_be_injected() -> None:
    async with serving(limited()) as client:
        async with raw(client) as strange:
            await strange.send(
                b"GET /v1/streams/a%0d%0aSet-Cookie:%20x=y HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
            status, headers, body = await strange.answer()
        assert status == 404
        assert "set-cookie" not in headers
        assert json.loads(body)["instance"] == "/v1/streams/a%0d%0aSet-Cookie:%20x=y"


async def test_rate_is_limited_for_each_client() -> None:
    async with serving(limited(requests_per_s=0.1, burst=3)) as client:
        for _ in range(3):
            assert (await client.get("/healthz")).status_code == 200
        refused = await client.get("/healthz")
        problem(refused, 429, "too_many_requests")
        assert 1 <= int(refused.headers["retry-after"]) <= 10


async def test_open_streams_are_limited() -> None:
    async with serving(limited(open_streams=2)) as client:
        async with client.stream("GET", "/v1/events"), client.stream("GET", "/v1/events"):
            refused = await client.get("/v1/events")
            problem(refused, 503, "busy")
            assert refused.headers["retry-after"] == "5"
            # Asking what there would be opens nothing.
            assert (await client.get("/healthz")).status_code == 200
        while (await client.head("/v1/events")).status_code == 503:
            await asyncio.sleep(0)
        async with client.stream("GET", "/v1/events") as again:
            assert again.status_code == 200


async def test_head_of_an_endless_answer_ends() -> None:
    async with serving(limited()) as client:
        head = await client.head("/v1/events")
        assert head.headers["content-type"].startswith("text/event-stream")
        assert head.content == b""


async def test_answers_do_not_wait_for_acknowledgements(free_port: int) -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    [listening] = tcp_sockets("127.0.0.1", free_port)
    async with await asyncio.start_server(note, sock=listening):
        with socket.create_connection(("127.0.0.1", free_port)):
            async with asyncio.timeout(WAIT_S):
                assert await accepted == 1


async def test_client_that_reads_nothing_is_cut_by_the_system(free_port: int) -> None:
    [listening] = tcp_sockets("127.0.0.1", free_port)
    with listening, socket.create_connection(("127.0.0.1", free_port)):
        async with asyncio.timeout(WAIT_S):
            connection, _ = await asyncio.get_running_loop().sock_accept(listening)
        with connection:
            option = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert option == UNREAD_TIMEOUT_S * 1000


async def test_server_ends_in_time_with_everything_open() -> None:
    api = limited()
    async with (
        serving(api) as client,
        raw(client) as idle,
        raw(client) as half,
        raw(client) as events,
    ):
        await half.send(REQUEST[:20])
        await events.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await events.head())[0] == 200
        async with asyncio.timeout(WAIT_S):
            await api.close(1.0)
        assert await idle.is_closed()
        assert await half.is_closed()
        assert (await events.reader.read()).endswith(b"0\r\n\r\n")  # its last chunk
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", client.base_url.port)


async def test_occupied_port_is_reported_with_its_key(free_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port))
        other.listen()
        api = make_api(FakeDaemon(), ApiConfig(port=free_port))
        with pytest.raises(ConfigError, match=rf"api\.port.*127\.0\.0\.1:{free_port}.*in use"):
            api.bind()


async def test_address_of_another_machine_is_reported_with_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ConfigError, match=r"api\.host"):
            make_api(FakeDaemon(), with_tokens(monkeypatch, host=host)).bind()


async def test_localhost_listens_where_the_name_leads() -> None:
    async with serving(make_api(FakeDaemon(), ApiConfig(host="localhost", port=0))) as client:
        assert (await client.get("/healthz")).status_code == 200


async def test_uvicorn_leaves_signals_and_logging_alone() -> None:
    import logging
    import signal

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    handlers = list(logging.getLogger().handlers)
    async with serving(limited()) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert {each: signal.getsignal(each) for each in before} == before
        assert logging.getLogger().handlers == handlers
        assert not logging.getLogger("uvicorn").handlers

"""Bodies of requests: their size, time and type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from streamer.api.server import body_limit, idle_connections
from streamer.config.network import ApiLimitsConfig
from tests.streamer.api.server.raw import limited, raw
from tests.streamer.api.serving import (
    CONTROL,
    PUBLISH,
    READ,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    with_tokens,
)


async def test_body_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "BODY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(idle_connections, "CHECK_INTERVAL_S", 0.01)
    monkeypatch.setattr(idle_connections, "HEAD_TIMEOUT_S", 0.1)
    head = b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"
    async with serving(limited()) as client, raw(client) as slow:
        await slow.send(head)
        assert "the body did not arrive" in (await slow.refusal(408))["detail"]
        assert await slow.is_closed()


async def test_body_is_limited_before_it_is_read() -> None:
    async with serving(limited(body_bytes=1024)) as client:
        large = "x" * 2000
        refused = await client.post("/v1/streams", json={"id": large})
        assert "api.limits.body_bytes" in problem(refused, 413)["detail"]

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100

        problem(await client.post("/v1/streams", content=chunks()), 413)
        async with raw(client) as promising:
            await promising.send(
                b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: 9999999999999999999\r\n\r\n"
            )
            await promising.refusal(413)


async def test_values_of_a_body_are_limited() -> None:
    """Small ones too: a message for each of a million stops the event loop for seconds."""
    async with serving(limited()) as client:
        many = {f"k{number}": 1 for number in range(20_000)}
        assert "8192 values" in problem(await client.post("/v1/streams", json=many), 413)["detail"]
        some = {f"k{number}": 1 for number in range(2000)}
        refused = await client.post("/v1/streams", json=some)
        assert len(problem(refused, 422, "invalid_request")["errors"]) == 32


async def test_body_without_a_credential_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    async with serving(make_api(FakeDaemon(), with_tokens(monkeypatch))) as client:
        for framing in (b"Content-Length: 5\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            async with raw(client) as stranger:
                await stranger.send(head + framing)  # and none of the body
                await stranger.refusal(401)
        ended = {"Cookie": f"masklet_login_{client.base_url.port}=ended"}
        refused = await client.post("/v1/streams", json={}, headers=ended)
        assert "expired" in problem(refused, 401, "unauthenticated")["detail"]


MANY = json.dumps({f"k{number}": 1 for number in range(20_000)}).encode()


async def test_values_are_limited_however_the_type_is_spelled() -> None:
    async with serving(limited()) as client:
        for content_type, is_json in (
            ("application/json", True),
            ("Application/JSON", True),
            ("application/json;charset=UTF-8", True),
            ('application/json ; charset="utf-8"; version=1;', True),
            ("application/merge-patch+json", True),
            ("APPLICATION/X+JSON", True),
            (None, False),
            ("application/sdp", False),
            ("text/plain; note=application/json", False),
        ):
            headers = {} if content_type is None else {"Content-Type": content_type}
            refused = await client.post("/v1/streams", content=MANY, headers=headers)
            assert "8192 values" in problem(refused, 413)["detail"]
            few = await client.post("/v1/streams", content=b"{}", headers=headers)
            problem(few, 422 if is_json else 415, "invalid_request" if is_json else None)


async def test_type_that_can_be_read_in_two_ways_is_refused() -> None:
    one = ("Content-Type", "application/json")
    async with serving(limited()) as client:
        for headers in (
            [one, one],
            [("Content-Type", "text/plain"), one],
            [("Content-Type", "application/json, text/plain")],
            [("Content-Type", "application/json charset=utf-8")],
            [("Content-Type", "json")],
            [("Content-Type", "")],
            [("Content-Type", "application/")],
            [("Content-Type", "application/json; charset=utf-16")],
            [one, ("Content-Encoding", "gzip")],
        ):
            refused = await client.post("/v1/streams", content=b"{}", headers=headers)
            assert "send" in problem(refused, 415)["detail"]


async def test_body_of_a_client_that_left_does_nothing() -> None:
    daemon = FakeDaemon("gate")
    async with serving(make_api(daemon)) as client:
        async with raw(client) as leaving:
            await leaving.send(
                b"POST /v1/streams/gate/pause HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            leaving.writer.write_eof()
            assert await leaving.is_closed()
        assert (await client.get("/v1/streams/gate")).json()["paused"] is False


async def test_bodies_of_some_tokens_leave_room_for_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body_limit, "BODIES_BYTES", 18_000)
    api = make_api(FakeDaemon(), with_tokens(monkeypatch, limits=ApiLimitsConfig(body_bytes=3000)))
    async with serving(api) as client, AsyncExitStack() as held:
        for token in (READ, PUBLISH):
            head = (
                f"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
                "Expect: 100-continue\r\nContent-Length: 3000\r\n\r\n"
            ).encode()
            while True:  # until all but the shares of the others is taken
                slow = await held.enter_async_context(raw(client))
                await slow.send(head)
                assert (await slow.head())[0] == 100
                await slow.send(b"x" * 2999)
                probe = {"content": b"x" * 3000, "headers": bearer(token)}
                if (await client.post("/v1/streams", **probe)).status_code == 503:
                    break
        answer = await client.post("/v1/streams", content=b"x" * 3000, headers=bearer(CONTROL))
        assert answer.status_code == 415


async def test_bodies_of_all_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "BODIES_BYTES", 5000)
    head = b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n"
    async with serving(limited(body_bytes=2000)) as client:
        async with raw(client) as first, raw(client) as second:
            await first.send(head + b"x" * 1900)
            await second.send(head + b"x" * 1900)
            while True:  # until the server has both parts
                async with raw(client) as third:
                    await third.send(head + b"x" * 2000)
                    status, _, _ = await third.answer()
                if status == 503:
                    break
                assert status == 415
            for each in (first, second):
                await each.send(b"x" * 100)
                await each.refusal(415)
        assert (await client.post("/v1/streams", content=b"x" * 2000)).status_code == 415


@pytest.mark.parametrize("body", [b'{"id": "\xff"}', b"[" * 100_000, b"9" * 6000])
async def test_body_that_no_parser_takes_is_explained(body: bytes) -> None:
    async with serving(limited()) as client:
        sent = {"content": body, "headers": {"Content-Type": "application/json"}}
        detail = problem(await client.post("/v1/streams", **sent), 400)["detail"]
        assert "cannot be read as JSON: send UTF-8" in detail

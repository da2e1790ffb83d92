"""HTTP/1.1 on the wire: what is refused, what is bounded, and what is answered in which order."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamer.api.server.http_protocol import HEAD_BYTES, HEADERS, PIPELINED
from tests.streamer.api.server.raw import REQUEST, Raw, limited, raw
from tests.streamer.api.serving import WAIT_S, FakeDaemon, make_api, serving, with_tokens

DELETE = b"DELETE /v1/streams/gate HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/streams HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PAUSE = b"POST /v1/streams/gate/pause HTTP/1.1\r\nHost: localhost\r\n"


async def closing_answer(connection: Raw) -> tuple[int, bytes]:
    """The status and the body of the last answer on a connection, which then ends."""
    status, _, body = await connection.answer()
    assert await connection.is_closed()
    return status, body


WEBSOCKET = (
    b"GET /v1/streams/gate/results HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n"
)
REFUSED = [
    # Two lengths, or none that counts: another parser in front might see another body.
    DELETE + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    DELETE + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    DELETE + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    DELETE + b"Content-Length: 1, 1\r\n\r\na",
    DELETE + b"Content-Length: +1\r\n\r\na",
    DELETE + b"Content-Length: -1\r\n\r\n",
    DELETE + b"Content-Length: \r\n\r\n",
    DELETE + b"Content-Length: 99999999999999999999\r\n\r\n",
    DELETE + b"Transfer-Encoding: identity\r\n\r\n",
    DELETE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    DELETE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    DELETE + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    DELETE + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    DELETE + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    DELETE + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    DELETE.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n",
    # Lines that do not end as they should.
    DELETE + b"X: a\r\n folded\r\n\r\n",
    DELETE + b"X: a\nY: b\r\n\r\n",
    DELETE + b"X: a\rY: b\r\n\r\n",
    DELETE.replace(b"\r\n", b"\n") + b"\n",
    DELETE + b" X: a\r\n\r\n",
    DELETE + b": a\r\n\r\n",
    DELETE + b"X: a\x00b\r\n\r\n",
    # Hosts, versions and targets.
    DELETE + b"Host: localhost\r\n\r\n",
    DELETE.replace(b"Host: localhost\r\n", b"") + b"\r\n",
    DELETE.replace(b"1.1", b"2.0") + b"\r\n",
    DELETE.replace(b"1.1", b"1.2") + b"\r\n",
    b"DELETE /v1/streams/gate\r\n\r\n",
    DELETE.replace(b"/v1", b"http://evil.example/v1") + b"\r\n",
    DELETE.replace(b"/v1/streams/gate", b"*") + b"\r\n",
    DELETE.replace(b"/gate", b"/gate#x") + b"\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"BREW /coffee HTTP/1.1\r\nHost: localhost\r\n\r\n",
    DELETE.replace(b"1.1", b"x") + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,  # TLS to a plain port
    b"\r\n\r\n\r\nfoo\r\n\r\n",
    # A WebSocket that does not begin as it should.
    WEBSOCKET + b"Content-Length: 5\r\n\r\nhello",
    WEBSOCKET + CHUNKED + b"\r\n0\r\n\r\n",
    WEBSOCKET.replace(b"1.1", b"1.0") + b"\r\n",
    # Bounds.
    DELETE.replace(b"gate", b"g" * 3 * HEAD_BYTES) + b"\r\n",
    DELETE + b"X: a\r\n" * HEADERS + b"\r\n",
    DELETE + b"X: " + b"a" * 3 * HEAD_BYTES + b"\r\n\r\n",
    b"\r\n" * 2 * HEAD_BYTES,
]


async def test_request_that_is_refused_does_nothing() -> None:
    daemon = FakeDaemon("gate")
    async with serving(make_api(daemon)) as client:
        for sent in REFUSED:
            async with raw(client) as strange:
                await strange.send(sent)
                answer = await closing_answer(strange)
                assert answer == (400, b"Invalid HTTP request received."), sent[:200]
            assert "gate" in daemon.streams.configs, sent[:200]


REFUSED_CHUNKS = [
    b"1\nx\n0\n\n",
    b"1\r\nx0\r\n\r\n",
    b"0x1\r\nx\r\n0\r\n\r\n",
    b"1 \r\nx\r\n0\r\n\r\n",
    b"-1\r\nx\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\nx",
    b"1\r\nx\r\n" * 45_000 + b"0\r\n\r\n",
    b"1;" + b"a" * 3 * HEAD_BYTES + b"\r\nx\r\n0\r\n\r\n",
    b"0\r\nX: " + b"a" * 3 * HEAD_BYTES + b"\r\n\r\n",
    b"0\r\n" + b"X: a\r\n" * HEAD_BYTES + b"\r\n",
]


async def test_chunks_that_are_refused_do_nothing() -> None:
    daemon = FakeDaemon("gate")
    async with serving(make_api(daemon)) as client:
        for sent in REFUSED_CHUNKS:
            async with raw(client) as strange:
                await strange.send(PAUSE + CHUNKED + b"\r\n")
                await strange.send(sent)
                assert (await closing_answer(strange))[0] == 400, sent[:50]
            assert not daemon.streams.configs["gate"].paused, sent[:50]


async def test_head_that_has_no_end_is_not_kept() -> None:
    async with serving(limited()) as client, raw(client) as endless:
        await endless.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        sent = 0
        while not endless.reader.at_eof() and not endless.reader._buffer:  # type: ignore[attr-defined]
            await endless.send(b"a" * 4096)
            sent += 4096
            await asyncio.sleep(0)
        assert sent < 4 * 1024 * 1024  # what the sockets between hold, not 50 MB
        assert (await endless.head())[0] == 400


async def test_trailers_are_no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(limited()) as client, raw(client) as trailing:
        await trailing.send(
            POST + CHUNKED + b"\r\n2;a=b\r\n{}\r\n0\r\nContent-Type: text/plain\r\n\r\n" + REQUEST
        )
        assert (await trailing.refusal(422))["errors"][0]["location"] == "/id"
        assert (await trailing.answer())[0] == 200


async def test_small_body_may_come_byte_by_byte() -> None:
    body = json.dumps({"id": "yard", "url": "synthetic://match"}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    async with serving(limited()) as client, raw(client) as slow:
        await slow.send(POST + CHUNKED + b"\r\n" + chunks + b"0\r\n\r\n")
        assert (await slow.answer())[0] == 201


async def test_requests_sent_at_once_are_answered_in_order() -> None:
    daemon = FakeDaemon("gate")
    async with serving(make_api(daemon)) as client, raw(client) as pipelining:
        await pipelining.send(
            b"GET /v1/streams/gate HTTP/1.1\r\nHost: localhost\r\n\r\n"
            + PAUSE
            + CHUNKED
            + b"\r\n0\r\n\r\n"
            + b"GET /v1/streams/gate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        states = [json.loads((await pipelining.answer())[2])["paused"] for _ in range(3)]
        assert states == [False, True, True]
        assert await pipelining.is_closed()


async def test_requests_that_wait_are_limited() -> None:
    async with serving(limited()) as client, raw(client) as flooding:
        await flooding.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await flooding.head())[0] == 200
        await flooding.send(REQUEST * (PIPELINED + 2))
        await flooding.ended()


async def test_old_clients_get_an_answer_without_chunks() -> None:
    async with serving(limited()) as client:
        async with raw(client) as old:
            await old.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert await closing_answer(old) == (200, b'{"status":"ok"}')
        async with raw(client) as old:
            await old.send(b"GET /v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
            status, headers = await old.head()
            assert (status, headers["connection"]) == (200, "close")
            assert "transfer-encoding" not in headers
            async with asyncio.timeout(WAIT_S):
                assert await old.reader.readline() == b"retry: 2000\n"


async def test_client_that_waits_with_its_body_is_told_to_send_it() -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with serving(limited()) as client:
        async with raw(client) as polite:
            await polite.send(head)
            assert (await polite.head())[0] == 100
            await polite.send(b"{}")
            assert (await polite.answer())[0] == 422
        async with raw(client) as polite:
            await polite.send(head.replace(b"application/json", b"json"))
            status, headers, _ = await polite.answer()
            assert (status, headers["connection"]) == (415, "close")
            assert await polite.is_closed()


async def test_refusal_reaches_a_client_that_sends_all_of_a_large_body_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = make_api(FakeDaemon(), with_tokens(monkeypatch))
    async with serving(api) as client, raw(client) as sending:
        await sending.send(POST + b"Content-Length: 16777216\r\n\r\n")
        for _ in range(16):
            await sending.send(b"x" * 1024 * 1024)
        await sending.refusal(401)
        assert await sending.is_closed()


async def test_offer_of_another_protocol_is_ignored() -> None:
    asked = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
    async with serving(limited()) as client, raw(client) as modern:
        await modern.send(REQUEST.removesuffix(b"\r\n") + asked)
        assert await closing_answer(modern) == (200, b'{"status":"ok"}')


async def test_websocket_does_not_begin_inside_an_answer() -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with serving(limited()) as client, raw(client) as mixed:
        await mixed.send(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await mixed.head())[0] == 200
        await mixed.send(REQUEST.removesuffix(b"\r\n") + upgrade)
        await mixed.ended()


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"X: " + b"a" * 20_000, 431), (b"X(: a", 400), (b"Content-Length: 0", 101)],
)
async def test_websocket_with_a_strange_head_is_answered(line: bytes, status: int) -> None:
    async with serving(limited()) as client, raw(client) as strange:
        await strange.send(WEBSOCKET + line + b"\r\n\r\n")
        assert (await strange.head())[0] == status
        if status != 101:
            await strange.ended()

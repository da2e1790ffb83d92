"""Pictures, results and WHEP over real HTTP: what clients get, and how they are refused."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import aioice.ice
import httpx
import numpy as np
import pytest
import websockets
from PIL import Image

from streamer.api.api import Api
from streamer.api.server.websocket_protocol import STREAM_GONE
from streamer.config.network import ApiConfig, ApiLimitsConfig, IceServerConfig, WebRTCConfig
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.video.multipart import BOUNDARY, MEDIA_TYPE
from streamer.sinks.websocket import FRAMES_PER_READER, OTHERS_PER_READER, ResultsHub
from streamer.types import Published, StreamState
from tests.integration.browser.frame_counter import read
from tests.streamer.api.serving import (
    CONTROL,
    PUBLISH,
    READ,
    WAIT_S,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    sinks_of,
    with_tokens,
)
from tests.streamer.sinks.video.scenes import frame_result, seen
from tests.streamer.sinks.video.viewing import WebViewer
from tests.streamer.wire.wire_samples import event, status

SNAPSHOT = "/v1/streams/gate/snapshot.jpg"
MJPEG = "/v1/streams/gate/video.mjpeg"


async def publish(api: Api, item: Published) -> None:
    for sink in sinks_of(api):
        if sink.wants(item):
            await sink.publish(item)


def sink_of(api: Api, kind: type) -> object:
    return next(sink for sink in sinks_of(api) if isinstance(sink, kind))


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.001)


def number(jpeg: bytes) -> int | None:
    with Image.open(io.BytesIO(jpeg)) as image:
        return read(np.asarray(image))


@asynccontextmanager
async def results(
    client: httpx.AsyncClient, query: str = "masks=none", **options: object
) -> AsyncIterator[websockets.ClientConnection]:
    address = str(client.base_url).replace("http", "ws", 1)
    async with websockets.connect(
        f"{address}/v1/streams/gate/results?{query}", **options
    ) as websocket:
        yield websocket


# Snapshots.


async def test_snapshot_shows_the_newest_frame() -> None:
    api = make_api(FakeDaemon("gate"))
    async with serving(api) as client:
        await publish(api, frame_result(41))
        await publish(api, frame_result(42))
        answer = await client.get(SNAPSHOT)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.headers["cache-control"] == "no-store"
        assert number(answer.content) == 42
        small = await client.get(SNAPSHOT, params={"view": "clean", "width": 100})
        with Image.open(io.BytesIO(small.content)) as image:
            assert image.size == (100, 56)


async def test_snapshot_before_the_first_frame_has_a_retry_after() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        answer = await client.get(SNAPSHOT)
        assert "no picture yet" in problem(answer, 503, "busy")["detail"]
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", ["snapshot.jpg", "video.mjpeg"])
async def test_pictures_of_an_unknown_stream_or_size_are_refused(path: str) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        problem(await client.get(f"/v1/streams/yard/{path}"), 404, "unknown_stream")
        for query in ("width=0", "width=15", "width=3841", "width=x", "view=upside_down"):
            refused = await client.get(f"/v1/streams/gate/{path}?{query}")
            problem(refused, 422, "invalid_request")


# MJPEG.


async def parts(answer: httpx.Response) -> AsyncIterator[tuple[dict[bytes, bytes], bytes]]:
    """Header fields and pictures of a multipart answer.

    A part is complete when the boundary after it has come, whatever its Content-Length.
    """
    waiting = b"\r\n"
    chunks = answer.aiter_bytes()
    while True:
        part, found, rest = waiting.partition(f"\r\n--{BOUNDARY}\r\n".encode())
        if not found:
            waiting += await anext(chunks)
            continue
        waiting = rest
        if part:
            head, _, picture = part.partition(b"\r\n\r\n")
            yield dict(line.split(b": ", 1) for line in head.split(b"\r\n")), picture


async def test_mjpeg_is_one_jpeg_after_another_and_ends_with_its_reader() -> None:
    api = make_api(FakeDaemon("gate"))
    hub = sink_of(api, PictureHub)
    assert isinstance(hub, PictureHub)
    async with serving(api) as client:
        async with client.stream("GET", MJPEG) as answer:
            assert answer.headers["content-type"] == MEDIA_TYPE
            await soon(lambda: hub.is_encoding("gate"))
            pictures = parts(answer)
            for index in range(5):
                await publish(api, frame_result(index))
                fields, picture = await asyncio.wait_for(anext(pictures), WAIT_S)
                assert number(picture) == index
                assert fields == {
                    b"Content-Type": b"image/jpeg",
                    b"Content-Length": str(len(picture)).encode(),
                    b"Masklet-Frame-Index": str(index).encode(),
                }
        await soon(lambda: not hub.is_encoding("gate"))


@pytest.mark.parametrize(
    "accept", ["image/avif,image/webp,image/*,*/*;q=0.8", "text/html,application/xml;q=0.9,*/*"]
)
async def test_browser_gets_the_headers_of_the_next_part_with_each_picture(accept: str) -> None:
    api = make_api(FakeDaemon("gate"))
    ahead = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    async with (
        serving(api) as client,
        client.stream("GET", MJPEG, headers={"Accept": accept}) as answer,
    ):
        body = answer.aiter_bytes()
        assert await asyncio.wait_for(anext(body), WAIT_S) == ahead
        for index in range(3):
            await publish(api, frame_result(index))
            received = b""
            while not received.endswith(b"\r\n" + ahead):
                received += await asyncio.wait_for(anext(body), WAIT_S)
            assert number(received.removesuffix(b"\r\n" + ahead)) == index


async def test_head_of_mjpeg_has_the_type_and_leaves_nothing_open() -> None:
    api = make_api(FakeDaemon("gate"))
    hub = sink_of(api, PictureHub)
    assert isinstance(hub, PictureHub)
    async with serving(api) as client:
        await publish(api, frame_result(0))
        answer = await client.head(MJPEG)
        assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        assert answer.content == b""
        assert not hub.is_encoding("gate")


async def test_mjpeg_ends_when_its_stream_is_removed() -> None:
    api = make_api(FakeDaemon("gate"))
    async with serving(api) as client, client.stream("GET", MJPEG) as answer:
        await publish(api, frame_result(0))
        pictures = parts(answer)
        await asyncio.wait_for(anext(pictures), WAIT_S)
        await publish(api, status(state=StreamState.STOPPED))
        async with asyncio.timeout(WAIT_S):
            with pytest.raises((StopAsyncIteration, RuntimeError)):
                await anext(pictures)


async def test_number_of_simultaneous_answers_is_limited() -> None:
    limits = ApiLimitsConfig(open_streams=1)
    api = make_api(FakeDaemon("gate"), ApiConfig(port=0, limits=limits))
    async with serving(api) as client, client.stream("GET", MJPEG):
        problem(await client.get(MJPEG), 503, "busy")


# Results.


async def test_results_come_with_the_state_first() -> None:
    api = make_api(FakeDaemon("gate"))
    async with serving(api) as client:
        await publish(api, status())
        async with results(client, "masks=rle") as websocket:
            await publish(api, frame_result(3))
            await publish(api, event())
            texts = [await asyncio.wait_for(websocket.recv(), WAIT_S) for _ in range(3)]
    messages = [json.loads(text) for text in texts]
    assert [each["type"] for each in messages] == ["status", "frame", "event"]
    assert messages[1]["objects"][0]["mask"]["encoding"] == "rle"
    assert all(isinstance(text, str) for text in texts)


async def test_results_are_refused_before_the_handshake() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        with pytest.raises(websockets.InvalidStatus) as wrong_masks:
            async with results(client, "masks=bits"):
                pass
        assert wrong_masks.value.response.status_code == 422
        address = str(client.base_url).replace("http", "ws", 1)
        with pytest.raises(websockets.InvalidStatus) as unknown:
            async with websockets.connect(f"{address}/v1/streams/yard/results"):
                pass
        assert unknown.value.response.status_code == 404
        document = json.loads(unknown.value.response.body)
        assert document["type"] == "urn:masklet:problem:unknown_stream"


async def test_plain_request_for_a_web_socket_is_told_what_it_is() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        answer = await client.get("/v1/streams/gate/results")
        assert "Upgrade" in problem(answer, 426)["detail"]
        assert answer.headers["upgrade"] == "websocket"


async def test_removed_stream_closes_its_sockets_with_its_own_code() -> None:
    api = make_api(FakeDaemon("gate"))
    async with serving(api) as client, results(client) as websocket:
        await publish(api, status(state=StreamState.STOPPED))
        assert json.loads(await asyncio.wait_for(websocket.recv(), WAIT_S))["state"] == "stopped"
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(websocket.recv(), WAIT_S)
        assert websocket.close_code == STREAM_GONE


async def test_daemon_that_stops_closes_sockets_as_going_away() -> None:
    api = make_api(FakeDaemon("gate"))
    async with serving(api) as client, results(client) as websocket:
        hub = sink_of(api, ResultsHub)
        assert isinstance(hub, ResultsHub)
        hub.end_readers()
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(websocket.recv(), WAIT_S)
        assert websocket.close_code == 1001


async def test_incoming_messages_are_ignored_and_a_close_is_detected() -> None:
    api = make_api(FakeDaemon("gate"))
    hub = sink_of(api, ResultsHub)
    assert isinstance(hub, ResultsHub)
    async with serving(api) as client:
        async with results(client) as websocket:
            await websocket.send("hello")
            await publish(api, frame_result(0))
            await asyncio.wait_for(websocket.recv(), WAIT_S)
            assert hub.wants(frame_result(1))
        await soon(lambda: not hub.wants(frame_result(1)))


async def test_stalled_socket_is_bounded_and_delays_no_other() -> None:
    api = make_api(FakeDaemon("gate"))
    hub = sink_of(api, ResultsHub)
    assert isinstance(hub, ResultsHub)
    async with serving(api) as client:
        stuck = await never_reads(client)
        await soon(lambda: hub.wants(frame_result(0)))
        (stuck_reader,) = hub._readers["gate"]
        async with results(client, "masks=rle") as websocket:
            random = np.random.default_rng(0)
            crop = random.random((170, 300)) < 0.5  # 30 kB as JSON
            noisy = seen(1, 0)
            object.__setattr__(noisy, "box_xyxy", (0, 0, 300, 170))
            object.__setattr__(noisy, "crop", crop)
            for index in range(600):
                await publish(api, frame_result(index, (noisy,)))
                text = await asyncio.wait_for(websocket.recv(), WAIT_S)
                assert json.loads(text)["frame_index"] == index
        assert stuck_reader.dropped > 0
        assert len(stuck_reader) <= FRAMES_PER_READER + OTHERS_PER_READER
        stuck.close()
        await soon(lambda: not hub.wants(frame_result(0)))


async def never_reads(client: httpx.AsyncClient) -> socket.socket:
    """A WebSocket after its handshake that never reads."""
    parts_ = urlsplit(str(client.base_url))
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Closed with a reset: waiting data is not sent.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (parts_.hostname, parts_.port))
    request = (
        "GET /v1/streams/gate/results?masks=rle HTTP/1.1\r\n"
        f"Host: {parts_.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await loop.sock_sendall(raw, request.encode())
    assert b"101" in await loop.sock_recv(raw, 12)
    return raw


# Permissions.


async def test_every_route_wants_its_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch))
    reading = [
        ("GET", SNAPSHOT),
        ("GET", MJPEG),
        ("POST", "/v1/streams/gate/whep"),
        ("PATCH", "/v1/whep/x"),
        ("DELETE", "/v1/whep/x"),
    ]
    publishing = [
        ("POST", "/v1/streams/gate/whip"),
        ("PATCH", "/v1/whip/x"),
        ("DELETE", "/v1/whip/x"),
    ]
    async with serving(api) as client:
        for method, path in reading + publishing:
            problem(await client.request(method, path), 401, "unauthenticated")
        for method, path in publishing:
            for token in (READ, CONTROL):
                refused = await client.request(method, path, headers=bearer(token))
                problem(refused, 403, "insufficient_scope")
        for method, path in reading:
            refused = await client.request(method, path, headers=bearer(PUBLISH))
            problem(refused, 403, "insufficient_scope")
        await publish(api, frame_result(0))
        assert (await client.get(SNAPSHOT, headers=bearer(READ))).status_code == 200
        assert (await client.get(SNAPSHOT, headers=bearer(CONTROL))).status_code == 200
        with pytest.raises(websockets.InvalidStatus) as refused_socket:
            async with results(client):
                pass
        assert refused_socket.value.response.status_code == 401
        async with results(client, additional_headers=bearer(READ)):
            pass


# WHEP and WHIP over HTTP.


async def test_viewer_watches_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    api = make_api(FakeDaemon("gate"))
    viewer = WebViewer()
    async with serving(api) as client:
        try:
            answer = await client.post(
                "/v1/streams/gate/whep",
                content=await viewer.offer(),
                headers={"Content-Type": "application/sdp"},
            )
            assert answer.status_code == 201
            assert answer.headers["content-type"] == "application/sdp"
            location = answer.url.join(answer.headers["location"])
            assert answer.headers["etag"]
            await viewer.accept(answer.text, int(answer.headers["masklet-rtp-offset"]))

            async def feed() -> None:
                for index in range(10_000):
                    await publish(api, frame_result(index % 1024))
                    await asyncio.sleep(0.02)

            feeding = asyncio.create_task(feed())
            shown = [read((await viewer.picture())[0]) for _ in range(5)]
            feeding.cancel()
            assert shown == sorted(shown)
            refused = await client.patch(location, content=b"", headers={"Content-Type": "x/y"})
            problem(refused, 415)
            assert (await client.delete(location)).status_code == 200
            problem(await client.delete(location), 404, "unknown_session")
        finally:
            await viewer.close()


@pytest.mark.parametrize("kind", ["whep", "whip"])
async def test_misuse_of_webrtc_is_a_problem_document(kind: str) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        path = f"/v1/streams/gate/{kind}"
        problem(await client.post(path, content=b"v=0"), 415)
        sdp = {"Content-Type": "application/sdp"}
        problem(await client.post(path, content=b"hello", headers=sdp), 400)
        problem(await client.get(path), 405)
        problem(await client.put(path), 405)
        assert (await client.patch(f"/v1/{kind}/unknown")).status_code == 404
        assert (await client.delete(f"/v1/{kind}/unknown")).status_code == 404


async def test_ice_servers_are_for_those_who_may_publish_or_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A preflight of CORS carries no credential and gets none, but is answered."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    monkeypatch.setenv("TURN_PASSWORD", "turn-secret")
    page = "https://wall.example"
    server = IceServerConfig(
        url="turn:127.0.0.1:9", username="masklet", password_env="TURN_PASSWORD"
    )
    api = make_api(
        FakeDaemon("gate"),
        with_tokens(monkeypatch, cors_origins=[page]),
        webrtc=WebRTCConfig(ice_servers=[server]),
    )
    path = "/v1/streams/gate/whip"
    async with serving(api) as client:
        for headers in ({}, bearer(READ), bearer(CONTROL)):
            answer = await client.options(path, headers=headers)
            assert answer.status_code == 204
            assert "turn-secret" not in str(answer.headers)
        preflight = {"Origin": page, "Access-Control-Request-Method": "POST"}
        answer = await client.options(path, headers=preflight)
        assert answer.status_code == 200
        assert "turn-secret" not in str(answer.headers)
        wrong = await client.options(path, headers=bearer("wrong" * 9))
        problem(wrong, 401, "unauthenticated")
        answer = await client.options(path, headers=bearer(PUBLISH))
        assert "turn-secret" in answer.headers["link"]
        # Refusals carry none either.
        for token, kind in ((PUBLISH, "whip"), (READ, "whep")):
            refused = await client.post(f"/v1/streams/gate/{kind}", headers=bearer(token))
            assert (refused.status_code, "link" in refused.headers) == (415, False)


async def test_log_out_ends_what_the_login_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch))
    viewer = WebViewer()
    async with serving(api) as client, AsyncExitStack() as stack:
        await client.post("/v1/login", headers=bearer(READ))
        cookie = {"Cookie": "; ".join(f"{key}={value}" for key, value in client.cookies.items())}
        answers = [
            await stack.enter_async_context(client.stream("GET", path))
            for path in ("/v1/events", MJPEG)
        ]
        by_token = await stack.enter_async_context(
            client.stream("GET", "/v1/events", headers=bearer(READ))
        )
        websocket = await stack.enter_async_context(results(client, additional_headers=cookie))
        offer = {"Content-Type": "application/sdp"}
        watching = await client.post(
            "/v1/streams/gate/whep", content=await viewer.offer(), headers=offer
        )
        assert watching.status_code == 201
        await viewer.close()
        assert len(api._context.open_streams) == 4
        assert (await client.post("/v1/logout", headers=cookie)).status_code == 204
        async with asyncio.timeout(WAIT_S):
            for answer in answers:
                await answer.aread()  # complete: no error of the connection
            await websocket.wait_closed()
        assert websocket.close_code == 4401
        await soon(lambda: len(api._context.whep) == 0)
        # What the token itself opened goes on.
        assert len(api._context.open_streams) == 1
        assert not by_token.is_closed


async def test_token_cannot_take_all_live_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch))
    async with serving(api) as client, AsyncExitStack() as stack:
        for _ in range(32):
            answer = await stack.enter_async_context(
                client.stream("GET", "/v1/events", headers=bearer(READ))
            )
        assert answer.status_code == 503
        await answer.aread()
        assert "viewer has 22 of 32" in problem(answer, 503, "busy")["detail"]
        with pytest.raises(websockets.InvalidStatus):
            await stack.enter_async_context(results(client, additional_headers=bearer(READ)))
        async with client.stream("GET", "/v1/events", headers=bearer(CONTROL)) as events:
            assert events.status_code == 200
        async with results(client, additional_headers=bearer(CONTROL)):
            pass


async def test_token_cannot_take_all_places_of_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    two = WebRTCConfig(viewers=2)
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch), webrtc=two)
    viewer = WebViewer()
    async with serving(api) as client:
        offer = await viewer.offer()
        await viewer.close()
        statuses = []
        for token in (READ, READ, CONTROL, CONTROL):
            headers = {"Content-Type": "application/sdp"} | bearer(token)
            watching = await client.post("/v1/streams/gate/whep", content=offer, headers=headers)
            statuses.append(watching.status_code)
        assert statuses == [201, 503, 201, 503]


async def test_options_list_what_a_publisher_may_post() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        answer = await client.options("/v1/streams/gate/whip")
        assert answer.status_code == 204
        assert answer.headers["accept-post"] == "application/sdp"
        assert (await client.options("/v1/whip/unknown")).status_code == 204

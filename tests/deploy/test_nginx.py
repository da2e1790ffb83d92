"""The API behind the real nginx with ``deploy/nginx.conf``: under a prefix, over TLS."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect

from streamer.api.api import Api
from streamer.client.api_client import Access, ApiClient
from streamer.webrtc.http_answer import SDP
from tests.deploy.nginx import nginx
from tests.streamer.api.serving import (
    CONTROL,
    PUBLISH,
    WAIT_S,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    sinks_of,
    with_tokens,
)
from tests.streamer.sinks.video.scenes import frame_result
from tests.streamer.sinks.video.viewing import WebViewer
from tests.streamer.wire.wire_samples import event


@dataclass(frozen=True, slots=True)
class Proxied:
    """A client of nginx whose base is the prefix, the page's address, and the API behind it."""

    client: httpx.AsyncClient
    base: str
    api: Api


@asynccontextmanager
async def behind_nginx(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxied]:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch, trusted_proxies=["127.0.0.1"]))
    async with serving(api) as direct:
        with nginx(folder, str(direct.base_url).rstrip("/")) as base:
            async with httpx.AsyncClient(base_url=base, timeout=WAIT_S, verify=False) as client:
                yield Proxied(client, base, api)


def origin(base: str) -> str:
    return base.removesuffix("/masklet")


async def test_page_and_its_documents_lie_under_the_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_nginx(tmp_path, monkeypatch) as proxied:
        client = proxied.client
        moved = await client.get(proxied.base)
        assert (moved.status_code, moved.headers["location"]) == (301, "/masklet/")
        page = await client.get("/")
        links = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert "static/main.js" in links
        for link in links:
            assert (await client.get(page.url.join(link))).status_code == 200, link
        document = await client.get("/openapi.json")
        (server,) = document.json()["servers"]
        served = str(document.url.join(server["url"])).rstrip("/")
        assert (await client.get(f"{served}/healthz")).status_code == 200


async def test_sessions_and_new_streams_are_found_at_their_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_nginx(tmp_path, monkeypatch) as proxied:
        client = proxied.client
        for kind, token in (("whip", PUBLISH), ("whep", CONTROL)):
            viewer = WebViewer()
            body = await viewer.offer()
            stream = "gate"
            if kind == "whip":
                stream = "phone"
                added = await client.post(
                    "/v1/streams", json={"id": stream, "url": "whip://"}, headers=bearer(CONTROL)
                )
                assert added.url.join(added.headers["location"]).path == "/masklet/v1/streams/phone"
                body = body.replace(b"a=recvonly", b"a=sendonly")
            headers = bearer(token) | {"Content-Type": SDP}
            answer = await client.post(
                f"/v1/streams/{stream}/{kind}", content=body, headers=headers
            )
            await viewer.close()
            assert answer.status_code == 201, answer.text
            session = answer.url.join(answer.headers["location"])
            assert session.path.startswith(f"/masklet/v1/{kind}/")
            assert (await client.delete(session, headers=bearer(token))).status_code == 200


async def test_browser_login_sockets_events_and_pictures_pass_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="streamer.api.server.answers")
    async with behind_nginx(tmp_path, monkeypatch) as proxied, asyncio.timeout(WAIT_S):
        client, own = proxied.client, {"Origin": origin(proxied.base)}
        forged = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.8;proto=http"}
        login = await client.post("/v1/login", headers=own | forged | bearer(CONTROL))
        assert login.status_code == 200
        assert re.fullmatch(
            r"__Host-masklet_login_\d+=[^;]+; HttpOnly; Max-Age=\d+; Path=/; "
            "SameSite=strict; Secure",
            login.headers["set-cookie"],
        )
        assert "POST /v1/login by operator from 127.0.0.1: 200" in caplog.text

        changed = await client.post("/v1/streams/gate/pause", headers=own)
        assert changed.status_code == 200
        other = await client.post("/v1/streams/gate/pause", headers={"Origin": "https://b.example"})
        problem(other, 403, "origin_not_allowed")

        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        tls = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        socket = connect(
            f"{proxied.base.replace('https', 'wss')}/v1/streams/gate/results",
            origin=own["Origin"],
            additional_headers={"Cookie": cookie},
            ssl=tls,
            proxy=None,
        )
        async with (
            socket as results,
            client.stream("GET", "/v1/events") as events,
            client.stream("GET", "/v1/streams/gate/video.mjpeg") as pictures,
        ):
            parts, lines = pictures.aiter_bytes(), events.aiter_lines()
            assert b"--masklet" in await anext(parts)  # the reader is there
            for index in range(2):
                for sink in sinks_of(proxied.api):
                    for item in (frame_result(index), event()):
                        if sink.wants(item):
                            await sink.publish(item)
                received = b""
                while not received.endswith(b"\r\n--masklet\r\n"):
                    received += await anext(parts)
                assert f"Masklet-Frame-Index: {index}\r\n".encode() in received
                while not (await anext(lines)).startswith("data: "):
                    pass
                while (message := json.loads(await results.recv()))["type"] != "frame":
                    pass
                assert message["frame_index"] == index


async def test_command_line_takes_an_address_with_a_prefix_and_bodies_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind_nginx(tmp_path, monkeypatch) as proxied:
        access = Access(proxied.base, None, CONTROL, str(tmp_path / "tls.crt"))

        listed = await asyncio.to_thread(lambda: ApiClient(access).get("/v1/streams"))
        assert [each["id"] for each in listed["streams"]] == ["gate"]
        large = b" " * (4 << 20) + b"{}"
        answer = await proxied.client.post(
            "/v1/streams",
            content=large,
            headers=bearer(CONTROL) | {"Content-Type": "application/json"},
        )
        assert answer.status_code == 413
        assert urlsplit(str(answer.url)).path == "/masklet/v1/streams"

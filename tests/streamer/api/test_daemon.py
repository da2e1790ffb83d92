"""The API as a part of the whole daemon: its start, its endpoint, its end."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from websockets.asyncio.client import connect

from streamer.app import App
from streamer.config.network import ApiConfig, TokenConfig, TokenScope, WebRTCConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError
from tests.integration.test_live_path import running, settings
from tests.streamer.api.serving import WAIT_S, bearer, problem
from tests.streamer.fakes import FakeTracker

SMALL = "synthetic://match?seed=3&width=160&height=96&rate_hz=10"


def daemon(folder: Path, api: ApiConfig | None = None, *, state: Path | None = None) -> App:
    config = settings(folder, gate=StreamConfig(url=SMALL))
    if state is not None:
        config = config.changed(state_directory=str(state))
    if api is not None:
        config = config.changed(api=api)
    return App(config, tracker=FakeTracker())  # type: ignore[arg-type]


async def test_log_contains_the_address_of_the_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(daemon(tmp_path)) as app:
        endpoint = app.endpoints.api
        assert endpoint is not None
        assert f"page and API at {endpoint}" in caplog.text
        async with httpx.AsyncClient(base_url=endpoint, timeout=WAIT_S) as client:
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            assert (await client.get("/v1/info")).json()["model"] == "fake"
            assert (await client.get("/metrics")).status_code == 200


async def test_own_certificate_lies_with_the_state(tmp_path: Path) -> None:
    for _ in range(2):
        app = daemon(tmp_path, ApiConfig(port=0, self_signed=True), state=tmp_path / "state")
        async with running(app):
            assert str(app.endpoints.api).startswith("https://")
            trusted = ssl.create_default_context(cafile=tmp_path / "state/tls/certificate.pem")
            async with httpx.AsyncClient(verify=trusted, timeout=WAIT_S) as client:
                answer = await client.get(f"{app.endpoints.api}/readyz")
            assert answer.json() == {"status": "ready"}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


async def test_daemon_does_without(tmp_path: Path) -> None:
    async with running(daemon(tmp_path, ApiConfig(enabled=False))) as app:
        assert app.endpoints.api is None


async def test_port_that_is_taken_ends_the_start_with_its_key(tmp_path: Path) -> None:
    async with running(daemon(tmp_path)) as app:
        port = httpx.URL(str(app.endpoints.api)).port
        (tmp_path / "other").mkdir(mode=0o700)
        with pytest.raises(ExceptionGroup) as raised:
            await daemon(tmp_path / "other", ApiConfig(port=port or 0)).run()
        assert raised.group_contains(ConfigError, match=r"api\.port")


async def test_token_that_is_missing_ends_the_start_with_its_key(tmp_path: Path) -> None:
    tokens = [TokenConfig(name="me", scopes=["read"], token_file=str(tmp_path / "none"))]
    with pytest.raises(ConfigError, match=r"api\.tokens\[0\]\.token_file"):
        daemon(tmp_path, ApiConfig(port=0, tokens=tokens))


async def test_daemon_ends_in_time_with_everything_open(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(running(daemon(tmp_path)))
        endpoint = str(app.endpoints.api)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=endpoint, timeout=WAIT_S)
        )
        live = []
        for path in ("/v1/events", "/v1/streams/gate/video.mjpeg"):
            live.append(await stack.enter_async_context(client.stream("GET", path)))
            assert live[-1].status_code == 200
        url = endpoint.replace("http", "ws", 1) + "/v1/streams/gate/results"
        socket = await stack.enter_async_context(connect(url))
        await socket.recv()
        app.request_stop()
        async with asyncio.timeout(WAIT_S):
            await socket.wait_closed()


async def test_ended_thread_is_reported_before_the_daemon_ends(tmp_path: Path) -> None:
    async with (
        running(daemon(tmp_path)) as app,
        httpx.AsyncClient(base_url=str(app.endpoints.api), timeout=WAIT_S) as client,
    ):
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended.set_result(None)
        alive, app._inference_ended = app._inference_ended, [ended]
        assert "inference" in problem(await client.get("/readyz"), 503, "not_ready")["detail"]
        app._inference_ended = alive


async def test_daemon_shares_publishers_and_viewers_among_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scopes: dict[str, TokenScope] = {
        "phone": "publish",
        "car": "publish",
        "wall": "read",
        "me": "control",
    }
    for name in scopes:
        monkeypatch.setenv(name, name * 10)
    tokens = [
        TokenConfig(name=name, scopes=[scope], token_env=name) for name, scope in scopes.items()
    ]
    config = settings(tmp_path, gate=StreamConfig(url=SMALL)).changed(
        api=ApiConfig(port=0, tokens=tokens), webrtc=WebRTCConfig(publishers=2, viewers=2)
    )
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("video", direction="sendrecv")
    await peer.setLocalDescription()
    offer = peer.localDescription.sdp
    async with (
        running(App(config, tracker=FakeTracker())) as app,  # type: ignore[arg-type]
        httpx.AsyncClient(base_url=str(app.endpoints.api), timeout=WAIT_S) as client,
    ):

        async def post(path: str, name: str) -> httpx.Response:
            sent = offer.replace("a=sendrecv", "a=sendonly" if "whip" in path else "a=recvonly")
            headers = bearer(name * 10) | {"Content-Type": "application/sdp"}
            return await client.post(f"/v1/streams/{path}", content=sent, headers=headers)

        begun = await post("street/whip", "phone")
        assert begun.status_code == 201
        refused = problem(await post("park/whip", "phone"), 503, "busy")
        assert "phone has 1 of 2 publishers' connections" in refused["detail"]
        session = f"/v1/whip/{begun.headers['Location'].rpartition('/')[2]}"
        await client.delete(session, headers=bearer("phone" * 10))
        refused = problem(await post("park/whip", "phone"), 503, "busy")
        assert "phone has 1 of 2 streams that publishers began" in refused["detail"]
        assert (await post("park/whip", "car")).status_code == 201
        assert (await post("gate/whep", "wall")).status_code == 201
        refused = problem(await post("gate/whep", "wall"), 503, "busy")
        assert "wall has 1 of 2 viewers" in refused["detail"]
        assert (await post("gate/whep", "me")).status_code == 201
    await peer.close()

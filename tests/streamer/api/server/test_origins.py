"""Names and pages that may use the server: DNS rebinding, cross-site requests, CORS, WebSockets."""

from __future__ import annotations

import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamer.config.network import ApiConfig, ApiLimitsConfig
from tests.streamer.api.serving import (
    READ,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    with_tokens,
)

STREAM = {"id": "yard", "url": "synthetic://match"}
PAGE = "https://page.example"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "cam.localhost", "127.0.0.1", "[::1]:9"]
)
async def test_own_names_are_answered_to(host: str) -> None:
    async with serving(make_api(FakeDaemon())) as client:
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "192.0.2.1", "[::1", "0"],
)
async def test_name_that_was_made_to_point_here_is_refused(host: str) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        for method, path in (("GET", "/v1/streams"), ("DELETE", "/v1/streams/gate"), ("GET", "/")):
            refused = await client.request(method, path, headers={"Host": host})
            assert (refused.status_code, refused.text) == (400, "Invalid host header")


async def test_with_tokens_every_name_is_answered_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon(), with_tokens(monkeypatch))) as client:
        headers = {"Host": "masklet.example.org"} | bearer(READ)
        assert (await client.get("/v1/streams", headers=headers)).status_code == 200


@pytest.mark.parametrize("origin", [PAGE, "null", "http://localhost:1", "", "http://[", "file://"])
async def test_page_of_another_origin_changes_nothing(origin: str) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        headers = {"Origin": origin}
        for method in ("POST", "DELETE", "PATCH"):
            refused = await client.request(method, "/v1/streams/gate", headers=headers)
            problem(refused, 403, "origin_not_allowed")
        read = await client.get("/v1/streams", headers=headers)
        assert "access-control-allow-origin" not in read.headers
        assert read.headers["cross-origin-resource-policy"] == "same-origin"


async def test_own_page_and_programs_change_what_they_like() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        own = {"Origin": str(client.base_url).rstrip("/")}
        assert (await client.post("/v1/streams", json=STREAM, headers=own)).status_code == 201
        assert (await client.delete("/v1/streams/yard")).status_code == 204


def test_origin_and_host_may_name_default_ports() -> None:
    from streamer.api.server.origins import _same_origin

    assert _same_origin("https://cam.example", "cam.example")
    assert _same_origin("https://cam.example", "cam.example:443")
    assert _same_origin("http://cam.example:80", "CAM.example")
    assert not _same_origin("http://cam.example:81", "cam.example")
    assert not _same_origin("http://cam.example", "cam.example:443")


async def test_cors_is_closed_by_default() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        refused = await client.options("/v1/streams", headers=headers)
        assert (refused.status_code, refused.text) == (400, "Disallowed CORS origin")


async def test_cors_allows_listed_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_tokens(monkeypatch, cors_origins=[PAGE])
    async with serving(make_api(FakeDaemon("gate"), config)) as client:
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/v1/streams", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight.headers
        answer = await client.get("/v1/streams", headers={"Origin": PAGE} | bearer(READ))
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in answer.headers["vary"]
        # A refusal is readable too, so the page can show the error.
        refused = await client.get("/v1/streams", headers={"Origin": PAGE})
        problem(refused, 401, "unauthenticated")
        assert refused.headers["access-control-allow-origin"] == PAGE
        other = await client.get("/v1/streams", headers={"Origin": PAGE + ".evil"} | bearer(READ))
        assert "access-control-allow-origin" not in other.headers


def results_url(client: httpx.AsyncClient) -> str:
    return f"ws://{client.base_url.host}:{client.base_url.port}/v1/streams/gate/results"


async def refused_socket(url: str, **headers: str) -> tuple[int, dict[str, object]]:
    with pytest.raises(InvalidStatus) as raised:
        async with connect(url, additional_headers=headers):
            pass
    response = raised.value.response
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, json.loads(response.body)


async def test_websocket_of_another_origin_is_refused() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        status, document = await refused_socket(results_url(client), Origin=PAGE)
        assert status == 403
        assert str(document["type"]).endswith("origin_not_allowed")
        own = {"Origin": str(client.base_url).rstrip("/")}
        async with connect(results_url(client), additional_headers=own):
            pass


async def test_websocket_needs_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(make_api(FakeDaemon("gate"), with_tokens(monkeypatch))) as client:
        url = results_url(client)
        status, document = await refused_socket(url)
        assert (status, document["status"]) == (401, 401)
        status, _ = await refused_socket(url, Authorization="Bearer wrong-token-of-a-length")
        assert status == 401
        status, document = await refused_socket(url + "?masks=wrong", **bearer(READ))
        assert status == 422
        async with connect(url, additional_headers=bearer(READ)):
            pass
        await client.post("/v1/login", headers=bearer(READ))
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        async with connect(url, additional_headers={"Cookie": cookie}):
            pass


async def test_websocket_on_another_path_is_rejected(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        for path in ("/v1/streams", "/nope", "/v1/streams/nope/results"):
            url = results_url(client).replace("/v1/streams/gate/results", path)
            status, document = await refused_socket(url)
            assert (status, document["status"]) == (404, 404)
    assert not caplog.records  # strangers cannot fill the log


async def test_websockets_count_as_open_streams_and_end_with_the_server() -> None:
    config = ApiConfig(port=0, limits=ApiLimitsConfig(open_streams=1))
    api = make_api(FakeDaemon("gate"), config)
    async with serving(api) as client, connect(results_url(client)) as held:
        status, document = await refused_socket(results_url(client))
        assert status == 503
        assert "open_streams" in str(document["detail"])
        await api.close(1.0)
        await held.wait_closed()
        assert held.close_code in (1001, 1012)

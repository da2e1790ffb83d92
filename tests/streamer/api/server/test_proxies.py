"""Requests through proxies: refused without tokens, believed only from those that are listed."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.datastructures import Headers
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamer.api.server.proxies import TrustedProxies
from streamer.config.control_endpoint import control_path
from streamer.config.network import ApiConfig, ApiLimitsConfig
from streamer.errors import ConfigError
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

STRANGER = "203.0.113.5"
OF_PROXIES = [
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded",
    "X-Real-IP",
    "CF-Connecting-IP",
    "CF-Ray",
    "True-Client-IP",
    "Fastly-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-ProxyUser-Ip",
    "X-Azure-ClientIP",
    "X-Original-Forwarded-For",
    "X-Envoy-External-Address",
    "WL-Proxy-Client-IP",
    "X-Amzn-Trace-Id",
    "Front-End-Https",
    "CDN-Loop",
    "X-NginX-Proxy",
    "X-Real-Port",
    "X-BlueCoat-Via",
    "X-Rewrite-URL",
    "Tailscale-User-Login",
    "X-Auth-Request-User",
    "Remote-User",
    "X-Goog-Authenticated-User-Email",
    "X-Cloud-Trace-Context",
    "Fly-Request-Id",
    "Akamai-Origin-Hop",
]
ROUTES = [
    ("GET", "/"),
    ("GET", "/healthz"),
    ("GET", "/v1/streams"),
    ("GET", "/v1/streams/gate/snapshot.jpg"),
    ("GET", "/v1/events"),
    ("DELETE", "/v1/streams/gate"),
    ("POST", "/v1/streams/gate/whip"),
    ("OPTIONS", "/v1/streams/gate/whip"),
    ("POST", "/v1/streams/gate/whep"),
    ("POST", "/v1/stop"),
    ("GET", "/nothing"),
]


async def test_without_tokens_nothing_is_answered_through_a_proxy() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        for name, (method, path) in itertools.product(OF_PROXIES, ROUTES):
            refused = await client.request(method, path, headers={name: STRANGER})
            detail = problem(refused, 403, "proxy_needs_tokens")["detail"]
            assert name.title() in detail
            assert "set api.tokens, such as [{name: me" in detail
        assert [each["id"] for each in (await client.get("/v1/streams")).json()["streams"]]


async def test_without_tokens_the_public_name_of_a_proxy_changes_nothing() -> None:
    async with serving(make_api(FakeDaemon())) as client:
        sent = {"Host": "masks.example.org", "X-Forwarded-For": ""}
        problem(await client.get("/v1/streams", headers=sent), 403, "proxy_needs_tokens")


@pytest.mark.parametrize("path", ["results", "detections"])
async def test_without_tokens_no_websocket_is_opened_through_a_proxy(path: str) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        url = f"ws://127.0.0.1:{client.base_url.port}/v1/streams/gate/{path}"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, additional_headers={"X-Forwarded-For": STRANGER}):
                pass
        assert refused.value.response.status_code == 403
        assert b"set api.tokens" in refused.value.response.body


async def test_control_socket_is_not_for_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch))
    async with serving(api):
        transport = httpx.AsyncHTTPTransport(uds=str(control_path(api._config.control.endpoint)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as owner:
            assert (await owner.get("/v1/streams")).status_code == 200
            refused = await owner.get("/v1/streams", headers={"X-Forwarded-For": STRANGER})
            problem(refused, 403, "proxy_needs_tokens")


async def test_headers_of_programs_are_not_mistaken_for_those_of_proxies() -> None:
    sent = {
        "Origin": "http://localhost",
        "Referer": "http://localhost/",
        "X-Request-ID": "7",
        "Traceparent": "00-0-0-00",
        "DNT": "1",
        "X-Requested-With": "XMLHttpRequest",
        "Priority": "u=1",
        "Sec-Fetch-Site": "same-origin",
        "X-Ship": "1",
        "Upgrade-Insecure-Requests": "1",
    }
    async with serving(make_api(FakeDaemon())) as client:
        assert (await client.get("/v1/streams", headers=sent)).status_code == 200


PEER, PROXIES = "127.0.0.1", TrustedProxies(["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ([], PEER),
        ([("X-Forwarded-For", STRANGER)], STRANGER),
        ([("X-Forwarded-For", f"192.0.2.1, {STRANGER}")], STRANGER),  # the first is made up
        ([("X-Forwarded-For", f"{STRANGER}, 10.1.2.3")], STRANGER),
        ([("X-Forwarded-For", f"192.0.2.1,{STRANGER}"), ("X-Forwarded-For", "10.9.9.9")], STRANGER),
        ([("X-Forwarded-For", f"{STRANGER}:4711")], STRANGER),
        ([("X-Forwarded-For", "2a00::7")], "2a00::7"),
        ([("X-Forwarded-For", "[2a00::7]:4711, 2001:DB8::9")], "2a00::7"),
        ([("X-Forwarded-For", f"::ffff:{STRANGER}")], STRANGER),
        ([("X-Forwarded-For", f"{STRANGER}, ::ffff:10.0.0.7")], STRANGER),
        ([("X-Forwarded-For", "fe80::1%eth0")], "fe80::1"),
        ([("X-Forwarded-For", "10.3.3.3, 10.2.2.2")], "10.3.3.3"),
        ([("X-Forwarded-For", "unknown")], PEER),
        ([("X-Forwarded-For", f"{STRANGER}, unknown, 10.0.0.3")], "10.0.0.3"),
        ([("X-Forwarded-For", "")], PEER),
        ([("X-Forwarded-For", ",,")], PEER),
        ([("X-Forwarded-For", "127.0.0.1," * 500 + "127.0.0.1")], PEER),
        ([("X-Forwarded-For", "1.2.3.4\x1b[31m")], PEER),
        ([("Forwarded", f"for={STRANGER}")], STRANGER),
        ([("Forwarded", f'for="_gazonk", For="{STRANGER}:80";proto=http;by=10.0.0.1')], STRANGER),
        ([("Forwarded", 'for="[2a00::7]:4711"')], "2a00::7"),
        ([("Forwarded", f'for="1.2.3.4, for={STRANGER}')], STRANGER),
        ([("Forwarded", "for=unknown")], PEER),
        ([("Forwarded", f"for={STRANGER}"), ("X-Forwarded-For", STRANGER)], STRANGER),
        # A proxy quotes the host, which is the client's choice.
        ([("Forwarded", f'for={STRANGER};host="a,for=192.0.2.1"')], STRANGER),
        ([("Forwarded", f'for={STRANGER};host="a;for=192.0.2.1"')], STRANGER),
        ([("Forwarded", f'for=192.0.2.1;x=", for={STRANGER};host="a\\\\"')], STRANGER),
        ([("Forwarded", f"for={STRANGER};for=192.0.2.1")], STRANGER),
        ([("Forwarded", 'for="192.0.2.1')], PEER),
        # One of the two is the stranger's own; which one, the proxy would have to tell.
        ([("Forwarded", "for=192.0.2.1"), ("X-Forwarded-For", STRANGER)], PEER),
        ([("X-Real-IP", STRANGER)], PEER),
    ],
)
def test_client_is_the_nearest_hop_that_no_listed_proxy_is(
    given: list[tuple[str, str]], client: str
) -> None:
    headers = Headers(raw=[(name.lower().encode(), value.encode()) for name, value in given])
    assert PROXIES.client(PEER, headers)[0] == client


@pytest.mark.parametrize(
    ("given", "scheme"),
    [
        ({"X-Forwarded-For": STRANGER, "X-Forwarded-Proto": "https"}, "https"),
        ({"X-Forwarded-Proto": "HTTPS, http"}, "https"),
        ({"X-Forwarded-Proto": "http"}, "http"),
        ({"X-Forwarded-Proto": "wss"}, "https"),  # Traefik, of a WebSocket
        ({"X-Forwarded-Proto": "ws"}, "http"),
        ({"X-Forwarded-Proto": "javascript"}, None),
        ({"Forwarded": f"for={STRANGER};proto=https"}, "https"),
        ({"Forwarded": f"for={STRANGER};proto=https, for=10.0.0.1;proto=http"}, "https"),
        ({"Forwarded": f"for=1.1.1.1;proto=https, for={STRANGER};proto=http"}, "http"),
        ({"Forwarded": "proto=https"}, "https"),
        ({}, None),
    ],
)
def test_scheme_is_the_one_seen_outside(given: dict[str, str], scheme: str | None) -> None:
    assert PROXIES.client(PEER, Headers(given))[1] == scheme


@pytest.mark.parametrize("proxies", [["localhost"], ["*"], ["0.0.0.0/0"], ["10.0.0.1/8"], [""]])
def test_proxies_are_addresses_and_networks(
    proxies: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"api\.trusted_proxies\[0\].*such as 127\.0\.0\.1"):
        ApiConfig.read({"trusted_proxies": proxies}, "api")


def test_proxy_without_tokens_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"api\.trusted_proxies.*needs api\.tokens"):
        ApiConfig.read({"trusted_proxies": ["127.0.0.1"]}, "api")


async def test_clients_of_a_listed_proxy_have_rates_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = ApiLimitsConfig(requests_per_s=0.1, burst=2)
    for proxies, expected in (["127.0.0.1"], 200), ([], 429):
        api = make_api(FakeDaemon(), with_tokens(monkeypatch, limits=few, trusted_proxies=proxies))
        async with serving(api) as client:
            for _ in range(3):
                last = await client.get("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})
            refused = problem(last, 429, "too_many_requests")
            assert ("192.0.2.1" if proxies else "127.0.0.1") in refused["detail"]
            other = await client.get("/healthz", headers={"X-Forwarded-For": "192.0.2.2"})
            assert other.status_code == expected


async def test_tokens_have_rates_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy that is not listed, too, and with the cookie as with the header."""
    few = ApiLimitsConfig(requests_per_s=0.1, burst=3)
    async with serving(make_api(FakeDaemon(), with_tokens(monkeypatch, limits=few))) as client:
        assert (await client.post("/v1/login", headers=bearer(CONTROL))).status_code == 200
        for expected in (200, 200, 200, 429):  # the cookie does not count beside a token
            answer = await client.get("/v1/streams", headers=bearer(READ))
            assert answer.status_code == expected
        assert "from token viewer" in answer.json()["detail"]
        for expected in (200, 200, 429):
            assert (await client.get("/v1/streams")).status_code == expected


async def test_requests_of_some_tokens_leave_room_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = ApiLimitsConfig(connections=8)
    api = make_api(FakeDaemon(), with_tokens(monkeypatch, limits=limits))
    async with serving(api) as client, AsyncExitStack() as held:
        details = []
        for token in (READ, CONTROL):
            sent = {"headers": bearer(token)}
            while (probe := await client.get("/v1/info", **sent)).status_code == 200:
                await held.enter_async_context(client.stream("GET", "/v1/events", **sent))
            details.append(problem(probe, 503, "busy")["detail"])
        assert "4 requests of token viewer are being answered" in details[0]
        assert "operator has 2 of 8 requests" in details[1]
        admitted = await client.get("/v1/info", headers=bearer(PUBLISH))
        problem(admitted, 403, "insufficient_scope")  # for want of a scope
        assert (await client.get("/healthz")).status_code == 200


async def test_cookie_is_bound_to_the_host_where_the_outside_is_tls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = with_tokens(monkeypatch, trusted_proxies=["127.0.0.0/8"])
    outside = {"X-Forwarded-For": STRANGER, "X-Forwarded-Proto": "https"}
    async with serving(make_api(FakeDaemon("gate"), config)) as client:
        given = await client.post("/v1/login", headers=outside | bearer(READ))
        cookie = given.headers["set-cookie"]
        name = f"__Host-masklet_login_{client.base_url.port}"
        assert cookie.startswith(f"{name}=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
        client.cookies.clear()
        header = {"Cookie": cookie.partition(";")[0]}
        info = await client.get("/v1/info", headers=outside | header)
        assert info.json()["secure"] is True
        url = f"ws://127.0.0.1:{client.base_url.port}/v1/streams/gate/results"
        for scheme in ("https", "wss"):
            sent = outside | header | {"X-Forwarded-Proto": scheme}
            async with connect(url, additional_headers=sent):
                pass
        # Over plain HTTP it is no login: a page there might have written it.
        problem(await client.get("/v1/streams", headers=header), 401, "unauthenticated")
        assert (await client.post("/v1/logout", headers=outside | header)).status_code == 204
        gone = await client.get("/v1/info", headers=outside | header)
        problem(gone, 401, "unauthenticated")


async def test_log_names_the_client_behind_the_proxy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = with_tokens(monkeypatch, trusted_proxies=["127.0.0.1"])
    async with serving(make_api(FakeDaemon("gate"), config)) as client:
        sent = {"X-Forwarded-For": f"192.0.2.9, {STRANGER}"} | bearer(CONTROL)
        with caplog.at_level("INFO"):
            assert (await client.delete("/v1/streams/gate", headers=sent)).status_code == 204
    assert f"DELETE /v1/streams/gate by operator from {STRANGER}: 204" in caplog.text

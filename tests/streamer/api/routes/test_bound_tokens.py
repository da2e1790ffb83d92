"""Tokens bound to streams: every route of the application, and what each shows them."""

from __future__ import annotations

import json

import httpx
import pytest
import websockets
from fastapi.routing import iter_route_contexts

from streamer.api.application import make_routes
from streamer.api.webrtc.whep_server import WhepServer
from streamer.config.network import ApiConfig, TokenConfig
from streamer.errors import ConfigError
from streamer.webrtc.http_answer import SDP
from tests.streamer.api.routes.test_events import event, hub_of, sse
from tests.streamer.api.serving import (
    CONTROL,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
)
from tests.streamer.sinks.video.viewing import WebViewer

BOUND = "bound-" + "b" * 30
# Every route must be in one of these. Routes that need no token and hold nothing of a stream:
OPEN = {
    "GET /", "GET /static/{name}", "GET /openapi.json", "GET /healthz", "GET /readyz",
    "POST /v1/login", "POST /v1/logout",
    "OPTIONS /v1/streams/{stream_id}/whip", "OPTIONS /v1/whip/{session_id}",
}  # fmt: skip
# Those that concern all streams: refused.
OF_ALL = {"GET /metrics", "POST /v1/stop"}
# Those that show or change only what the token is bound to; each has its test below.
FILTERED = {
    "GET /v1/info", "GET /v1/events", "GET /v1/streams", "POST /v1/streams",
    "PATCH /v1/whep/{session_id}", "DELETE /v1/whep/{session_id}",
    "PATCH /v1/whip/{session_id}", "DELETE /v1/whip/{session_id}",
}  # fmt: skip
# Those of the stream in their path: refused for any other.
STREAM = "/v1/streams/{stream_id}"
OF_ONE = {
    f"GET {STREAM}", f"PATCH {STREAM}", f"DELETE {STREAM}",
    f"POST {STREAM}/pause", f"POST {STREAM}/resume", f"POST {STREAM}/preview",
    f"POST {STREAM}/segments",
    f"GET {STREAM}/objects", f"POST {STREAM}/objects",
    f"POST {STREAM}/objects/{{object_id}}/prompts",
    f"PATCH {STREAM}/objects/{{object_id}}", f"DELETE {STREAM}/objects/{{object_id}}",
    f"GET {STREAM}/snapshot.jpg", f"GET {STREAM}/video.mjpeg",
    f"POST {STREAM}/detections", f"WebSocket {STREAM}/detections", f"WebSocket {STREAM}/results",
    f"POST {STREAM}/whep", f"POST {STREAM}/whip",
}  # fmt: skip


def with_bound_token(monkeypatch: pytest.MonkeyPatch) -> ApiConfig:
    """One token for gate and every stream yard-…, and one that is not bound."""
    monkeypatch.setenv("BOUND_TOKEN", BOUND)
    monkeypatch.setenv("CONTROL_TOKEN", CONTROL)
    return ApiConfig(
        port=0,
        tokens=[
            TokenConfig(
                name="yard",
                scopes=["control", "publish"],
                streams=["gate", "yard-*"],
                token_env="BOUND_TOKEN",
            ),
            TokenConfig(name="me", scopes=["control"], token_env="CONTROL_TOKEN"),
        ],
    )


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon("gate", "office", "yard-1")


def test_every_route_is_classified(daemon: FakeDaemon) -> None:
    found = set()
    for route in iter_route_contexts(make_routes(make_api(daemon)._context).routes):
        # Every GET has a HEAD; a WebSocket has no methods.
        methods = set(route.methods or {"WebSocket"}) - {"HEAD"}
        found |= {f"{method} {route.path}" for method in methods}
    classes = (OPEN, OF_ALL, FILTERED, OF_ONE)
    assert found == set().union(*classes)
    assert len(found) == sum(len(each) for each in classes)


async def answer_to(client: httpx.AsyncClient, route: str, stream_id: str) -> httpx.Response:
    """The answer to the bound token; of a WebSocket's handshake only its status."""
    method, _, path = route.partition(" ")
    path = path.format(stream_id=stream_id, object_id=1, session_id="none", name="none")
    if method != "WebSocket":
        async with client.stream(method, path, headers=bearer(BOUND)) as answer:
            if answer.headers.get("content-type", "").endswith("json"):
                await answer.aread()
            return answer  # MJPEG does not end
    address = str(client.base_url).replace("http", "ws", 1)
    try:
        async with websockets.connect(address + path, additional_headers=bearer(BOUND)):
            return httpx.Response(101)
    except websockets.InvalidStatus as refused:
        return httpx.Response(refused.response.status_code)


async def test_routes_of_one_stream_refuse_all_others(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(make_api(daemon, with_bound_token(monkeypatch))) as client:
        for route in sorted(OF_ONE):
            # Neither what exists, nor what does not, nor what merely looks alike.
            for other in ("office", "nothing", "Gate", "gate2", "ayard-1", "gate%0A", "*"):
                refused = await answer_to(client, route, other)
                assert refused.status_code == 403, (route, other)
                if not route.startswith("WebSocket"):
                    document = problem(refused, 403, "stream_not_allowed")
                    assert "bound to other streams" in document["detail"]
        for route in sorted(OF_ONE - {f"DELETE {STREAM}"}):
            for own in ("gate", "yard-1", "yard-new"):
                assert (await answer_to(client, route, own)).status_code != 403, route
        assert list(daemon.streams.configs) == ["gate", "office", "yard-1"]
        for route in sorted(OF_ALL):
            problem(await answer_to(client, route, "gate"), 403, "stream_not_allowed")
        assert daemon.stops == 0


async def test_streams_are_listed_and_added_within_the_token(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(make_api(daemon, with_bound_token(monkeypatch))) as client:
        client.headers.update(bearer(BOUND))
        listed = (await client.get("/v1/streams")).json()["streams"]
        assert [each["id"] for each in listed] == ["gate", "yard-1"]
        assert (await client.get("/v1/info")).json()["streams"] == ["gate", "yard-*"]
        new = {"id": "office-2", "url": "synthetic://match"}
        problem(await client.post("/v1/streams", json=new), 403, "stream_not_allowed")
        assert (await client.post("/v1/streams", json=new | {"id": "yard-2"})).status_code == 201
        # An error names no stream of others.
        unknown = await client.get("/v1/streams/yard-9")
        problem(unknown, 404, "unknown_stream")
        assert "office" not in unknown.text
        client.headers.update(bearer(CONTROL))
        assert len((await client.get("/v1/streams")).json()["streams"]) == 4
        assert "office" in (await client.get("/v1/streams/yard-9")).text


async def test_events_of_other_streams_are_left_out(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(daemon, with_bound_token(monkeypatch))
    async with serving(api) as client:
        client.headers.update(bearer(BOUND))
        for number, stream_id in enumerate(("office", "gate", "office", "yard-1"), 1):
            await hub_of(api).publish(event(number, stream_id))
        for query in ({"last": 10}, {}):
            headers = {} if query else {"Last-Event-ID": f"{hub_of(api).epoch}-0"}
            async with client.stream("GET", "/v1/events", params=query, headers=headers) as answer:
                found = [json.loads(each["data"])["stream_id"] for each in await sse(answer, 2)]
            assert found == ["gate", "yard-1"]
        refused = await client.get("/v1/events", params={"stream": "office"})
        problem(refused, 403, "stream_not_allowed")


async def test_sessions_of_other_streams_are_refused(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    api = make_api(daemon, with_bound_token(monkeypatch))
    whep: WhepServer = api._context.whep
    async with serving(api) as client:
        viewer = WebViewer()
        offer = {
            "content": await viewer.offer(),
            "headers": bearer(CONTROL) | {"Content-Type": SDP},
        }
        answers = [
            await client.post(f"/v1/streams/{each}/whep", **offer) for each in ("office", "gate")
        ]
        locations = [answer.url.join(answer.headers["location"]) for answer in answers]
        await viewer.close()
        for method in ("PATCH", "DELETE"):
            refused = await client.request(method, locations[0], headers=bearer(BOUND))
            problem(refused, 403, "stream_not_allowed")
            gone = await client.request(method, "/v1/whip/unknown", headers=bearer(BOUND))
            assert gone.status_code == 404
        assert len(whep) == 2
        assert (await client.delete(locations[1], headers=bearer(BOUND))).status_code == 200
        assert (await client.delete(locations[0], headers=bearer(CONTROL))).status_code == 200


async def test_login_is_bound_like_its_token(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(make_api(daemon, with_bound_token(monkeypatch))) as client:
        assert (await client.post("/v1/login", headers=bearer(BOUND))).status_code == 200
        assert (await client.get("/v1/streams/gate")).status_code == 200
        problem(await client.get("/v1/streams/office"), 403, "stream_not_allowed")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"streams": []}, "must name one or more streams; leave it out for all"),
        ({"streams": ["yard-?"]}, r"a stream id, in which '\*' stands for any text"),
        ({"streams": ["a b"]}, r"a stream id, in which '\*' stands for any text"),
        ({"streams": "gate"}, "streams"),
        ({"name": "owner"}, "must be another"),
    ],
)
def test_impossible_tokens_are_refused(settings: dict[str, object], message: str) -> None:
    token = {"name": "me", "scopes": ["read"], "token_env": "TOKEN"} | settings
    with pytest.raises(ConfigError, match=message):
        ApiConfig.read({"tokens": [token]}, "api")

"""One address for a fleet: its API is a daemon's, and each stream's worker answers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamer.api.webrtc.whep_server import RTP_OFFSET_HEADER
from streamer.fleet.gateway.config import GatewayApiConfig
from streamer.fleet.view import StreamState, WorkerState
from tests.streamer.api.server.raw import raw
from tests.streamer.api.server.test_websocket_protocol import HANDSHAKE
from tests.streamer.api.serving import CONTROL, PUBLISH, READ, bearer, problem, with_tokens
from tests.streamer.fleet.gateway.rig import SMALL, WAIT_S, Rig, rigged
from tests.streamer.http_fixture import one_answer
from tests.streamer.sinks.video.viewing import WebViewer
from tests.streamer.webrtc.numbered_scene import NumberedTrack, read_number

NO_SERVERS = RTCConfiguration(iceServers=[])
LEFT_HALF = {"box": [0, 0, 80, 96]}


async def soon(condition: Any) -> None:
    """Wait for an asynchronous condition."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def live(rig: Rig, stream_id: str, **headers: str) -> dict[str, Any]:
    """A stream that is there and live."""
    found: dict[str, Any] = {}

    async def is_live() -> bool:
        answer = await rig.http.get(f"/v1/streams/{stream_id}", headers=headers)
        found.update(answer.json())
        return (
            answer.status_code == 200 and found["state"] == "live" and found["frames_tracked"] > 1
        )

    await soon(is_live)
    return found


async def frame_of(socket: ClientConnection) -> dict[str, Any]:
    """The next frame of a results' WebSocket."""
    async with asyncio.timeout(WAIT_S):
        while (message := json.loads(await socket.recv()))["type"] != "frame":
            pass
    return dict(message)


def ws(rig: Rig, path: str) -> str:
    return rig.gateway.endpoint.replace("http", "ws", 1) + path


def raw_status(origin: str, path: str, headers: dict[str, str]) -> int:
    """Of a request whose path no client has put in order."""
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=WAIT_S)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


async def test_a_stream_is_added_used_moved_and_removed_as_at_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        http = rig.http
        added = await http.post("/v1/streams", json={"id": "gate", "url": SMALL})
        assert (added.status_code, added.headers["location"]) == (201, "streams/gate")
        assert added.json()["worker"] == "w1"
        problem(await http.post("/v1/streams", json={"id": "gate", "url": SMALL}), 409, "refused")
        problem(
            await http.post("/v1/streams", json={"id": "x", "url": "file:///etc/passwd"}),
            403,
            "url_not_allowed",
        )
        await rig.fleet.add("yard", {"url": SMALL})
        await rig.fleet.move("yard", "w2")
        await live(rig, "gate")
        listed = (await http.get("/v1/streams")).json()["streams"]
        assert {each["id"]: (each["worker"], each["node"]) for each in listed} == {
            "gate": ("w1", "node-of-w1"),
            "yard": ("w2", "node-of-w2"),
        }

        made = await http.post("/v1/streams/gate/objects", json=LEFT_HALF | {"label": "keeper"})
        assert (made.status_code, made.headers["location"]) == (201, "objects/1")
        objects = (await http.get("/v1/streams/gate/objects")).json()["objects"]
        assert [(each["id"], each["label"]) for each in objects] == [(1, "keeper")]
        odd = {b"If-Match": b"\xff", b"Accept": b"application/json, \xe9"}
        odd_answer = await http.get("/v1/streams/gate/objects", headers=odd)
        assert odd_answer.status_code == 200
        snapshot = await http.get("/v1/streams/gate/snapshot.jpg?width=64")
        assert snapshot.headers["content-type"] == "image/jpeg"
        assert snapshot.content.startswith(b"\xff\xd8")
        assert (await http.delete("/v1/streams/gate/objects/1")).status_code == 204
        problem(await http.delete("/v1/streams/gate/objects/1"), 404, "unknown_object")

        paused = (await http.post("/v1/streams/gate/pause")).json()
        assert paused["paused"] is True
        assert rig.fleet.wanted["gate"]["paused"] is True
        changed = await http.patch("/v1/streams/gate", json={"paused": False, "priority": 9})
        assert (changed.json()["paused"], changed.json()["priority"]) == (False, 9)
        problem(await http.patch("/v1/streams/gate", json={"priority": 11}), 422, "invalid_request")

        assert (await http.delete("/v1/streams/gate")).status_code == 204
        problem(await http.get("/v1/streams/gate"), 404, "unknown_stream")
        problem(await http.get("/v1/streams/gate/objects"), 404, "unknown_stream")
        problem(await http.post("/v1/stop"), 409, "refused")


async def test_the_fleet_is_described_with_limits_of_all_and_without_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.put_worker("w1", server_key="S" * 40)
        await rig.fleet.add("gate", {"url": SMALL})
        assert (await rig.http.get("/readyz")).json() == {"status": "ready"}
        info = (await rig.http.get("/v1/info")).json()
        assert (info["fleet"], info["model"], info["device"]) == ("yard", "fake", "2 workers")
        assert info["limits"]["streams"] == 128

        async def shown() -> bool:
            return bool((await rig.http.get("/v1/fleet")).json()["streams"])

        await soon(shown)
        answer = await rig.http.get("/v1/fleet")
        assert "SSSS" not in answer.text
        first = answer.json()["workers"][0]
        assert (first["worker_id"], first["node"], first["answers"]) == ("w1", "node-of-w1", True)
        assert first["load"] == {"share": 0.25, "streams": 1, "objects": 2, "overloaded": False}
        assert answer.json()["current"] is True
        page = await rig.http.get("/")
        assert "Masklet" in page.text
        assert (await rig.http.get("/openapi.json")).status_code == 200


async def test_what_waits_or_is_away_is_503_with_retry_after_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        http, fleet = rig.http, rig.fleet
        await fleet.add("gate", {"url": SMALL})
        await fleet.add("yard", {"url": SMALL})
        await fleet.move("yard", "w2")
        await live(rig, "yard")

        await fleet.put_worker("w1", state=WorkerState.LOST)
        await soon(lambda: _is(http, "/v1/streams/gate/objects", 503))
        answer = await http.get("/v1/streams/gate/objects")
        assert (
            "worker w1 on node-of-w1 does not answer"
            in problem(answer, 503, "worker_away")["detail"]
        )
        assert int(answer.headers["retry-after"]) > 0

        await fleet.put_stream(
            "gate", state=StreamState.WAITING, worker_id=None, reason="no worker has room"
        )
        await soon(lambda: _says(http, "/v1/streams/gate/objects", "no worker has room"))
        problem(await http.get("/v1/streams/gate/objects"), 503, "stream_waiting")
        with pytest.raises(InvalidStatus) as refused:
            await connect(ws(rig, "/v1/streams/gate/results"), proxy=None)
        assert refused.value.response.status_code == 503
        listed = {each["id"]: each for each in (await http.get("/v1/streams")).json()["streams"]}
        assert listed["gate"]["state"] == "connecting"
        assert listed["gate"]["detail"] == "stream gate waits for a worker: no worker has room"
        assert listed["yard"]["state"] == "live"

        # A worker whose process is gone while the manager has not noticed.
        await fleet.put_worker("w2", http="http://127.0.0.1:1")
        await soon(lambda: _is(http, "/v1/streams/yard/objects", 503))
        problem(await http.get("/v1/streams/yard/objects"), 503, "worker_away")
        assert (await http.get("/v1/streams")).status_code == 200


async def test_a_fleet_without_its_manager_is_still_watched_and_changes_are_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        rig.fleet.is_away = True
        await rig.fleet.put()
        await soon(lambda: _is(rig.http, "/readyz", 503))
        assert (await live(rig, "gate"))["state"] == "live"
        answer = await rig.http.post("/v1/streams", json={"id": "x", "url": SMALL})
        assert "manager" in problem(answer, 503, "busy")["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert (await rig.http.get("/v1/fleet")).json()["current"] is False
        rig.fleet.is_away = False
        await soon(lambda: _is(rig.http, "/readyz", 200))


async def test_results_go_on_over_a_move_and_the_loss_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        async with connect(ws(rig, "/v1/streams/gate/results?masks=none"), proxy=None) as socket:
            first = await frame_of(socket)
            await rig.fleet.move("gate", "w2")
            async with asyncio.timeout(WAIT_S):
                while (moved := await frame_of(socket))["session_id"] == first["session_id"]:
                    pass
            # The worker is lost: its connection is still open, and silent for all we know.
            await rig.fleet.apps["w1"].streams.add_from("gate", {"url": SMALL})
            await rig.fleet.put_worker("w2", state=WorkerState.LOST)
            await rig.fleet.put_stream("gate", worker_id="w1")
            async with asyncio.timeout(WAIT_S):
                while (await frame_of(socket))["session_id"] == moved["session_id"]:
                    pass
            await rig.fleet.remove("gate")
            async with asyncio.timeout(WAIT_S):
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await socket.recv()
            assert socket.close_code == 4404


async def test_detections_are_answered_by_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        async with connect(ws(rig, "/v1/streams/gate/detections"), proxy=None) as socket:
            await socket.send(json.dumps({"boxes": [], "frame_index": 1, "request_id": "7"}))
            async with asyncio.timeout(WAIT_S):
                answer = json.loads(await socket.recv())
        assert answer["request_id"] == "7"
        assert not answer["accepted"]  # the stream has no starter of boxes
        with pytest.raises(InvalidStatus) as refused:
            await connect(ws(rig, "/v1/streams/none/detections"), proxy=None)
        assert refused.value.response.status_code == 404


async def test_events_of_all_workers_and_of_the_fleet_are_one_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        seen: list[tuple[str, str]] = []
        async with rig.http.stream("GET", "/v1/events?last=100") as answer:
            lines = answer.aiter_lines()

            async def until(kind: str, stream_id: str) -> dict[str, Any]:
                async with asyncio.timeout(WAIT_S):
                    async for line in lines:
                        if line.startswith("data: "):
                            event = json.loads(line.removeprefix("data: "))
                            seen.append((event["kind"], event["stream_id"]))
                            if seen[-1] == (kind, stream_id):
                                return dict(event)
                raise AssertionError("the events ended")

            await until("stream_up", "gate")
            await rig.fleet.add("yard", {"url": SMALL})
            await until("stream_up", "yard")
            await rig.fleet.move("yard", "w2")
            moved = await until("stream_moved", "yard")
            assert moved["detail"] == "worker w2 on node-of-w2"
            await live(rig, "yard")
            await rig.fleet.remove("yard")
            await until("stream_down", "yard")
        assert seen.count(("stream_down", "yard")) == 1  # not one for the move


async def test_metrics_of_all_workers_and_of_the_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        await rig.fleet.move("gate", "w2")
        await live(rig, "gate")

        async def moved() -> bool:
            return 'moves_total{reason="requested"} 1.0' in (await rig.http.get("/metrics")).text

        await soon(moved)
        text = (await rig.http.get("/metrics")).text
        families = list(text_string_to_metric_families(text))
        assert len({each.name for each in families}) == len(families)
        samples = {
            (each.name, each.labels.get("worker"), each.labels.get("stream")): each
            for family in families
            for each in family.samples
        }
        assert samples["masklet_frames_tracked_total", "w2", "gate"].value > 0
        assert samples["masklet_frames_tracked_total", "w2", "gate"].labels["node"] == "node-of-w2"
        assert samples["masklet_build_info", "w1", None].value == 1
        assert samples["masklet_fleet_worker_up", "w1", None].value == 1
        assert samples["masklet_fleet_streams_wanted", None, None].value == 1
        assert samples["masklet_fleet_streams_waiting", None, None].value == 0
        assert samples["masklet_fleet_worker_load_ratio", "w1", None].value == 0.25
        await rig.fleet.put_worker("w1", state=WorkerState.LOST)

        async def lost() -> bool:
            page = (await rig.http.get("/metrics")).text
            return 'worker_up{node="node-of-w1",worker="w1"} 0.0' in page

        await soon(lost)


async def test_tokens_and_scopes_are_those_of_a_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamer.config.network import TokenConfig

    monkeypatch.setenv("BOUND_TOKEN", "bound-" + "b" * 30)
    tokens = with_tokens(monkeypatch).tokens
    bound = TokenConfig(
        name="bound", scopes=["control"], streams=["yard*"], token_env="BOUND_TOKEN"
    )
    api = GatewayApiConfig(port=0, tokens=[*tokens, bound])
    async with rigged(tmp_path, monkeypatch, api) as rig:
        http = rig.http
        for stream_id in ("gate", "yard"):
            await rig.fleet.add(stream_id, {"url": SMALL})
        for path in (
            "/v1/streams",
            "/v1/streams/gate/objects",
            "/v1/fleet",
            "/metrics",
            "/v1/info",
        ):
            problem(await http.get(path), 401, "unauthenticated")
        await live(rig, "yard", **bearer(READ))
        for path in ("/v1/streams/gate/objects", "/v1/streams/gate/pause", "/v1/streams/gate/x"):
            problem(await http.post(path, headers=bearer(READ)), 403, "insufficient_scope")
        problem(
            await http.post("/v1/streams/gate/whip", headers=bearer(CONTROL)),
            403,
            "insufficient_scope",
        )
        problem(
            await http.post("/v1/streams/gate/whep", headers=bearer(PUBLISH)),
            403,
            "insufficient_scope",
        )
        answer = await http.post("/v1/streams/yard/whep", content=b"x", headers=bearer(READ))
        problem(answer, 415)

        mine = bearer("bound-" + "b" * 30)
        listed = (await http.get("/v1/streams", headers=mine)).json()["streams"]
        assert [each["id"] for each in listed] == ["yard"]
        for path in (
            "/v1/streams/gate/objects",
            "/v1/fleet",
            "/metrics",
        ):
            problem(await http.get(path, headers=mine), 403, "stream_not_allowed")
        for escape in ("../gate/objects", "%2e%2e/gate/objects", "..%2fgate/objects", "./objects"):
            path = f"/v1/streams/yard/{escape}"
            status = await asyncio.to_thread(raw_status, rig.gateway.endpoint, path, mine)
            assert status == 404, escape

        # The cookie of a login opens what a browser's own requests need.
        await http.post("/v1/login", headers=bearer(READ))
        assert http.cookies
        assert (await http.get("/v1/streams/gate/objects")).status_code == 200
        # A worker that refuses the gateway is no mistake of the client's.
        for line in rig.gateway._known.lines:
            line.client.headers["authorization"] = "Bearer " + "x" * 30
        problem(await http.get("/v1/streams/gate/objects"), 502, "worker_refuses_gateway")


async def test_a_viewer_that_reads_nothing_delays_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        host, port = httpx.URL(rig.gateway.endpoint).host, httpx.URL(rig.gateway.endpoint).port
        readers = []
        for path in ("video.mjpeg", "video.mjpeg"):
            reader, writer = await asyncio.open_connection(host, port, limit=1024)
            writer.write(f"GET /v1/streams/gate/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            readers.append((reader, writer))
        async with (
            connect(ws(rig, "/v1/streams/gate/results"), proxy=None, max_queue=1),
            connect(ws(rig, "/v1/streams/gate/results"), proxy=None) as socket,
        ):
            indexes = [(await frame_of(socket))["frame_index"] for _ in range(10)]
        assert indexes == sorted(set(indexes))
        for _, writer in readers:
            writer.close()

        async def all_gone() -> bool:
            return len(rig.gateway._access.open_streams) == 0

        await soon(all_gone)


async def _is(http: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await http.get(path)).status_code == status


async def _says(http: httpx.AsyncClient, path: str, text: str) -> bool:
    return text in (await http.get(path)).text


async def test_sessions_of_whep_and_whip_stay_at_the_worker_that_began_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await rig.fleet.add("phone", {"url": "whip://"})
        await live(rig, "gate")
        for kind, stream_id, direction in (
            ("whep", "gate", "recvonly"),
            ("whip", "phone", "sendonly"),
        ):
            peer = RTCPeerConnection(NO_SERVERS)
            peer.addTransceiver("video", direction=direction)
            await peer.setLocalDescription(await peer.createOffer())
            url = f"/v1/streams/{stream_id}/{kind}"
            sdp = {"Content-Type": "application/sdp"}
            answer = await rig.http.post(url, content=peer.localDescription.sdp, headers=sdp)
            assert answer.status_code == 201, answer.text
            assert answer.headers["content-type"] == "application/sdp"
            assert answer.headers["etag"]
            session = answer.url.join(answer.headers["location"])
            assert session.path.startswith(f"/v1/{kind}/w1/{stream_id}/")
            # The right to one stream, of which a token may have no more, is none to another's.
            others = str(session).replace(f"/{stream_id}/", "/other/")
            for query in ("", f"?stream={stream_id}"):
                problem(await rig.http.delete(others + query), 404, "unknown_session")
            await rig.fleet.put_stream(stream_id, worker_id="w2")  # moved meanwhile
            fragment = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"old"'}
            problem(await rig.http.patch(session, content=b"a=x", headers=fragment), 412)
            assert (await rig.http.delete(session)).status_code == 200
            assert (await rig.http.delete(session)).status_code == 404
            await peer.close()
        problem(await rig.http.delete("/v1/whep/none/gate/x"), 404, "unknown_worker")
        offered = await rig.http.options("/v1/streams/phone/whip")
        assert (offered.status_code, offered.headers["accept-post"]) == (204, "application/sdp")


async def test_media_flow_from_a_publisher_to_a_viewer_that_both_know_the_gateway_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda **_: ["127.0.0.1"])
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("phone", {"url": "whip://"})
        sdp = {"Content-Type": "application/sdp"}
        track, publisher, viewer = NumberedTrack(), RTCPeerConnection(NO_SERVERS), WebViewer()
        try:
            publisher.addTransceiver(track, direction="sendonly")
            await publisher.setLocalDescription()
            offer = publisher.localDescription.sdp
            posted = await rig.http.post("/v1/streams/phone/whip", content=offer, headers=sdp)
            await publisher.setRemoteDescription(RTCSessionDescription(posted.text, "answer"))
            await live(rig, "phone")

            watched = await rig.http.post(
                "/v1/streams/phone/whep?view=clean", content=await viewer.offer(), headers=sdp
            )
            await viewer.accept(watched.text, int(watched.headers[RTP_OFFSET_HEADER]))
            numbers = [read_number((await viewer.picture())[0]) for _ in range(3)]
            assert 0 <= numbers[0] < numbers[1] < numbers[2] < len(track.sent_ns)

            ended = await rig.http.delete(posted.url.join(posted.headers["location"]))
            assert ended.status_code == 200
        finally:
            track.stop()
            await publisher.close()
            await viewer.close()


async def test_a_worker_that_is_lost_ends_what_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A process that was stopped: its kernel takes connections, and nothing answers."""
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with rigged(tmp_path, monkeypatch) as rig, server:
        for stream_id in ("gate", "yard"):
            await rig.fleet.add(stream_id, {"url": SMALL})
        await rig.fleet.move("yard", "w2")
        await live(rig, "yard")
        await rig.fleet.put_worker("w1", http=address)

        async def at_the_silent_one() -> bool:
            return any(line.http == address for line in rig.gateway._known.lines)

        await soon(at_the_silent_one)
        waiting = asyncio.create_task(rig.http.get("/v1/streams/gate/objects"))
        assert (await rig.http.get("/v1/streams/yard/objects")).status_code == 200
        listed = (await rig.http.get("/v1/streams")).json()["streams"]
        assert [each["state"] for each in listed] == ["connecting", "live"]
        assert not waiting.done()
        await rig.fleet.put_worker("w1", state=WorkerState.LOST)
        answer = await asyncio.wait_for(waiting, WAIT_S)
        problem(answer, 503, "worker_away")
        assert answer.headers["retry-after"]


async def test_a_video_ends_with_its_worker_and_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        async with rig.http.stream("GET", "/v1/streams/gate/video.mjpeg") as answer:
            parts = answer.aiter_raw()
            assert await anext(parts)
            await rig.fleet.put_worker("w1", state=WorkerState.LOST)
            async for _ in parts:
                pass
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_clients_that_leave_during_the_handshake_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with rigged(tmp_path, monkeypatch) as rig:
        await rig.fleet.add("gate", {"url": SMALL})
        await live(rig, "gate")
        for name in ("results", "detections") * 10:
            async with raw(rig.http) as leaving:
                path = f"/v1/streams/gate/{name}".encode()
                await leaving.send(HANDSHAKE.replace(b"/v1/streams/gate/results", path))
                leaving.writer.transport.abort()
        await live(rig, "gate")
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_answers_that_are_no_masklets_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_answer(200, b"<html>\xff not JSON", {"Content-Type": "text/html"}) as address:
        async with rigged(tmp_path, monkeypatch) as rig:
            for stream_id in ("gate", "yard"):
                await rig.fleet.add(stream_id, {"url": SMALL})
            await rig.fleet.move("yard", "w2")
            await live(rig, "yard")
            await rig.fleet.put_worker("w1", http=address)

            async def at_the_odd_one() -> bool:
                return any(line.http == address for line in rig.gateway._known.lines)

            await soon(at_the_odd_one)
            listed = (await rig.http.get("/v1/streams")).json()["streams"]
            assert {each["id"]: each["state"] for each in listed}["gate"] == "connecting"
            for path in ("/v1/info", "/metrics", "/v1/fleet", "/v1/streams/gate"):
                assert (await rig.http.get(path)).status_code == 200, path
            with pytest.raises(InvalidStatus):
                await connect(ws(rig, "/v1/streams/gate/results"), proxy=None)

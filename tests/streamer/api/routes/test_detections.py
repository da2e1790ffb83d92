"""Detections from outside over real HTTP and WebSockets: accepted, refused, counted, answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import websockets

from streamer.api.api import Api
from streamer.api.server.server import WEBSOCKET_MESSAGE_BYTES
from streamer.client import Access, ApiError
from streamer.client.detection_sender import DetectionSender
from streamer.config.network import ApiConfig, ApiLimitsConfig
from streamer.types import Detection, FrameReference
from tests.streamer.api.serving import (
    CONTROL,
    READ,
    WAIT_S,
    FakeDaemon,
    bearer,
    make_api,
    problem,
    serving,
    with_tokens,
)

PATH = "/v1/streams/gate/detections"
BOX = [1.0, 2.0, 11.0, 22.0]
MASK = {"counts": "05", "offset": [3, 4], "size": [1, 5]}


def message(**changes: object) -> dict[str, Any]:
    plain = {
        "frame_index": 7,
        "boxes": [{"box": BOX, "score": 0.5, "label": "person"}],
        "request_id": "mine",
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}


def limited(messages_per_s: float) -> ApiConfig:
    return ApiConfig(port=0, limits=ApiLimitsConfig(detections_per_s=messages_per_s))


def counted(api: Api, result: str) -> float:
    registry = api._context.metrics.registry
    return registry.get_sample_value("masklet_boxes_messages_total", {"result": result}) or 0.0


@asynccontextmanager
async def feed(
    client: httpx.AsyncClient, stream_id: str = "gate", **options: Any
) -> AsyncIterator[websockets.ClientConnection]:
    address = str(client.base_url).replace("http", "ws", 1)
    url = f"{address}/v1/streams/{stream_id}/detections"
    async with websockets.connect(url, **options) as websocket:
        yield websocket


async def answer_to(websocket: websockets.ClientConnection, sent: object) -> dict[str, Any]:
    await websocket.send(sent if isinstance(sent, str | bytes) else json.dumps(sent))
    async with asyncio.timeout(WAIT_S):
        answer: dict[str, Any] = json.loads(await websocket.recv())
    return answer


async def test_detections_are_offered_by_post() -> None:
    daemon = FakeDaemon("gate")
    api = make_api(daemon)
    async with serving(api) as client:
        accepted = await client.post(PATH, json=message())
        assert accepted.status_code == 202
        assert accepted.json() == {"accepted": True, "request_id": "mine"}
        ((reference, (found,)),) = daemon.offers
        assert reference == FrameReference(frame_index=7)
        assert (found.box_xyxy, found.score, found.label) == (tuple(BOX), 0.5, "person")
        by_time = message(frame_index=None, capture_time_ns=5, session_id="s", boxes=[])
        assert (await client.post(PATH, json=by_time)).status_code == 202
        assert daemon.offers[1] == (FrameReference(capture_time_ns=5, session_id="s"), [])
        assert (await client.post(PATH, json=message(frame_index=99))).status_code == 202
        assert (counted(api, "accepted"), counted(api, "superseded")) == (2, 1)


async def test_steady_feed_is_answered_where_a_message_asks_for_it() -> None:
    daemon = FakeDaemon("gate")
    api = make_api(daemon)
    async with serving(api) as client, feed(client) as websocket:
        assert await answer_to(websocket, message()) == {"accepted": True, "request_id": "mine"}
        await websocket.send(json.dumps(message(request_id=None)))  # no answer
        last = message(request_id="last", boxes=[{"mask": MASK}])
        answer = await answer_to(websocket, json.dumps(last).encode())  # binary is read as well
        assert answer["request_id"] == "last"
        assert counted(api, "accepted") == len(daemon.offers) == 3
        (masked,) = daemon.offers[2][1]
        assert masked.box_xyxy == (3.0, 4.0, 8.0, 5.0)
        assert masked.crop is not None
        assert masked.crop.all()


@pytest.mark.parametrize(
    ("sent", "reason", "detail"),
    [
        ("no JSON", "malformed", "Invalid JSON"),
        ("", "malformed", "Invalid JSON"),
        (b"\xff\xfe", "malformed", "Invalid JSON"),
        ("[" * 100_000, "malformed", "recursion"),
        ('{"x": [' + "0," * 10_000 + "0]}", "malformed", "more than 8192 values"),
        (message(later_key=1), "malformed", "/later_key"),
        (message(frame_index=None), "malformed", "frame_index or capture_time_ns, one"),
        (message(capture_time_ns=3), "malformed", "frame_index or capture_time_ns, one"),
        (message(boxes=[{"box": [1, 2, 3]}]), "malformed", "/boxes/0/box"),
        (message(boxes=[{"box": [5, 5, 5, 9]}]), "malformed", "/boxes/0/box: a box is x0, y0"),
        (message(boxes=[{"score": 0.5}]), "malformed", "/boxes/0: give a box or a mask"),
        (message(boxes=[{"box": BOX, "mask": MASK}]), "malformed", "give a box or a mask"),
        (message(boxes=[{"box": BOX, "score": 2}]), "malformed", "/boxes/0/score"),
        (message(boxes=[{"box": BOX, "label": "a\nb"}]), "malformed", "/boxes/0/label"),
        ('{"frame_index": 7, "boxes": [{"box": [0, 0, NaN, 4]}]}', "malformed", "/boxes/0/box"),
        (message(boxes=[{"box": BOX}] * 257), "malformed", "/boxes"),
        (message(boxes=[{"mask": MASK | {"counts": "1"}}]), "malformed", "/boxes/0/mask/counts"),
        (message(boxes=[{"mask": MASK | {"size": [9000, 9000]}}]), "malformed", "send crops"),
        (message(frame_index=98), "unknown", "frame 98 is too old"),
    ],
)
async def test_impossible_message_is_refused_with_a_reason_and_the_next_is_accepted(
    sent: Any, reason: str, detail: str
) -> None:
    api = make_api(FakeDaemon("gate"))
    async with serving(api) as client, feed(client) as websocket:
        answer = await answer_to(websocket, sent)
        assert (answer["accepted"], answer["reason"]) == (False, reason)
        assert detail in answer["detail"]
        assert answer.get("request_id") == ("mine" if isinstance(sent, dict) else None)
        assert counted(api, reason) == 1
        assert (await answer_to(websocket, message()))["accepted"]
        body = sent if isinstance(sent, str | bytes) else json.dumps(sent)
        refused = await client.post(
            PATH, content=body, headers={"Content-Type": "application/json"}
        )
        assert refused.status_code in ((409,) if reason == "unknown" else (400, 413, 422))
        kinds = {409: "refused", 422: "invalid_request"}
        problem(refused, refused.status_code, kinds.get(refused.status_code))


async def test_refusals_by_post_are_problem_documents_and_counted() -> None:
    api = make_api(FakeDaemon("gate"), limited(1.0))
    async with serving(api) as client:
        unknown = await client.post("/v1/streams/yard/detections", json=message())
        assert "no stream 'yard'" in problem(unknown, 404, "unknown_stream")["detail"]
        problem(await client.post(PATH, json=message(boxes=7)), 422, "invalid_request")
        problem(await client.post(PATH, json=message(frame_index=98)), 409, "refused")
        masked = await client.post(PATH, json=message(boxes=[{"mask": MASK | {"counts": "1"}}]))
        problem(masked, 429, "too_many_requests")
        assert int(masked.headers["retry-after"]) >= 1
        assert "api.limits.detections_per_s" in masked.json()["detail"]
        counts = {each: counted(api, each) for each in ("malformed", "unknown", "rate")}
        assert counts == {"malformed": 1, "unknown": 2, "rate": 1}


async def test_stream_that_is_sent_too_much_is_refused_and_others_are_not() -> None:
    api = make_api(FakeDaemon("gate", "yard"), limited(1.0))
    async with serving(api) as client, feed(client) as websocket, feed(client, "yard") as other:
        answers = [await answer_to(websocket, message()) for _ in range(3)]
        assert answers[0]["accepted"]
        assert answers[2]["reason"] == "rate"
        assert answers[2]["request_id"] == "mine"
        assert counted(api, "rate") >= 1
        assert (await answer_to(other, message()))["accepted"]


async def test_flood_of_messages_does_not_block_other_work() -> None:
    """A message that waits is received at once: without a pause nothing else has a turn."""
    api = make_api(FakeDaemon("gate"), limited(1.0))
    flood = 1000
    async with serving(api) as client, feed(client, max_queue=flood) as websocket:
        for _ in range(flood):
            await websocket.send(json.dumps(message(request_id=None)))
        turns = 0
        refused = api._context.metrics.boxes_messages.labels("rate")._value
        accepted = api._context.metrics.boxes_messages.labels("accepted")._value
        while refused.get() + accepted.get() < flood:
            await asyncio.sleep(0)
            turns += 1
        assert turns > flood / 2


async def test_refusals_are_logged_once_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client:
        for _ in range(3):
            await client.post(PATH, json={"boxes": []})
    (line,) = [each for each in caplog.messages if "detections were refused" in each]
    assert "name the frame by frame_index or capture_time_ns" in line


async def test_message_that_is_too_large_ends_its_socket_only() -> None:
    async with serving(make_api(FakeDaemon("gate"))) as client, feed(client) as other:
        async with feed(client) as websocket:
            with contextlib.suppress(websockets.ConnectionClosed):
                await websocket.send(" " * (WEBSOCKET_MESSAGE_BYTES + 1))
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(websocket.recv(), WAIT_S)
        largest = json.dumps(message()).ljust(WEBSOCKET_MESSAGE_BYTES)
        assert (await answer_to(other, largest))["accepted"]


async def test_both_ways_want_control_and_a_stream_that_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = make_api(FakeDaemon("gate"), with_tokens(monkeypatch))
    async with serving(api) as client:
        problem(await client.post(PATH, json=message()), 401, "unauthenticated")
        reading = await client.post(PATH, json=message(), headers=bearer(READ))
        problem(reading, 403, "insufficient_scope")
        allowed = await client.post(PATH, json=message(), headers=bearer(CONTROL))
        assert allowed.status_code == 202
        for stream_id, token, status in (("gate", READ, 403), ("yard", CONTROL, 404)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with feed(client, stream_id, additional_headers=bearer(token)):
                    pass
            assert refused.value.response.status_code == status
        async with feed(client, additional_headers=bearer(CONTROL)) as websocket:
            assert (await answer_to(websocket, message()))["accepted"]
        assert counted(api, "unknown") == 0  # a handshake is no message


@pytest.mark.parametrize("over_the_socket", [False, True])
async def test_python_client_sends_boxes_and_masks_and_raises_the_reason(
    tmp_path: Path, over_the_socket: bool
) -> None:
    daemon = FakeDaemon("gate")
    crop = np.tri(20, 10, dtype=np.bool_)
    things = [Detection((1, 2, 11, 22), 0.5, "person", crop), Detection((3.5, 4, 9, 9))]
    async with serving(make_api(daemon, folder=tmp_path)) as client:
        access = Access(str(client.base_url))
        if over_the_socket:
            access = Access(control=f"ipc://{tmp_path}/control.sock")

        def send() -> None:
            with DetectionSender("gate", access) as sender:
                sender.send(things, frame_index=3, answer_within_s=WAIT_S)
                with pytest.raises(ApiError, match="frame 98 is too old"):
                    sender.send([], frame_index=98, answer_within_s=WAIT_S)
                sender.send([], frame_index=98)  # refused, and not waited for
                sender.close()
                sender.send([], capture_time_ns=8, answer_within_s=WAIT_S)  # connects anew
            with (
                DetectionSender("yard", access) as sender,
                pytest.raises(ApiError, match="no stream 'yard'"),
            ):
                sender.send([], frame_index=1)

        await asyncio.to_thread(send)
    (reference, (masked, plain)), (_, nothing) = daemon.offers
    assert reference == FrameReference(frame_index=3)
    assert masked.crop is not None
    assert np.array_equal(masked.crop, crop)
    assert (masked.box_xyxy, masked.label) == ((1, 2, 11, 22), "person")
    assert (plain.box_xyxy, plain.crop) == ((3.5, 4, 9, 9), None)
    assert list(nothing) == []


def test_python_client_reports_a_daemon_that_is_not_there() -> None:
    sender = DetectionSender("gate", Access("http://127.0.0.1:1"))
    with sender, pytest.raises(ApiError, match="no daemon takes detections at http://127"):
        sender.send([], frame_index=1)

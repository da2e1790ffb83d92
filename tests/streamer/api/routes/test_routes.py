"""Streams, objects, prompts, events and the page over HTTP; refusals are problem documents."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from streamer.api.routes.page import WEB_FOLDER
from streamer.errors import BusyError
from streamer.types import FrameReference
from streamer.wire.mask_codecs import MaskEncoding, encode_crop
from tests.streamer.api.serving import HEIGHT, WIDTH, FakeDaemon, make_api, problem, serving

BOX = {"box": [1, 2, 20, 22]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon("gate")


@pytest.fixture
async def client(daemon: FakeDaemon) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(make_api(daemon)) as made:
        yield made


def rle(mask: np.ndarray) -> dict[str, Any]:
    counts = encode_crop(np.asarray(mask, dtype=np.bool_), MaskEncoding.RLE).decode()
    return {"size": list(mask.shape), "counts": counts}


async def test_health_reports_what_is_missing(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    daemon.missing = ["inference"]
    assert problem(await client.get("/readyz"), 503, "not_ready")["detail"].endswith("inference")
    assert (await client.get("/healthz")).status_code == 200
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "masklet_stream_up" in metrics.text


async def test_stream_from_first_to_last(client: httpx.AsyncClient) -> None:
    new = {"id": "yard", "url": "synthetic://match?seed=1", "max_objects": 3}
    added = await client.post("/v1/streams", json=new)
    assert added.status_code == 201
    assert added.headers["location"] == "streams/yard"
    assert added.json()["max_objects"] == 3
    problem(await client.post("/v1/streams", json=new), 409, "stream_exists")
    listed = (await client.get("/v1/streams")).json()["streams"]
    assert [each["id"] for each in listed] == ["gate", "yard"]
    changed = await client.patch("/v1/streams/yard", json={"max_objects": 5})
    assert changed.json()["max_objects"] == 5
    assert (await client.post("/v1/streams/yard/pause")).json()["paused"] is True
    assert (await client.post("/v1/streams/yard/resume")).json()["paused"] is False
    assert (await client.delete("/v1/streams/yard")).status_code == 204
    problem(await client.get("/v1/streams/yard"), 404, "unknown_stream")


async def test_settings_that_cannot_be_are_named(client: httpx.AsyncClient) -> None:
    async def refused(**settings: Any) -> dict[str, Any]:
        new = {"id": "yard", "url": "synthetic://match", **settings}
        return problem(await client.post("/v1/streams", json=new), 422, "invalid_request")

    assert (await refused(max_objects=640))["errors"][0]["location"] == "/max_objects"
    assert (await refused(id="no spaces"))["errors"][0]["location"] == "/id"
    assert (await refused(id="gate\n"))["errors"][0]["location"] == "/id"
    assert (await refused(password_env="HOME"))["errors"][0]["location"] == "/password_env"
    assert (await refused(password_file="/etc/shadow"))["errors"]
    mask = {"id": 1, "mask_file": "/etc/shadow"}
    assert (await refused(objects=[mask]))["errors"][0]["location"] == "/objects/0/mask_file"
    assert (await refused(url=""))["errors"][0]["location"] == "/url"
    both = await refused(max_rate_hz=-1, loop="maybe")
    assert {each["location"] for each in both["errors"]} == {"/max_rate_hz", "/loop"}


async def test_streams_are_limited(client: httpx.AsyncClient) -> None:
    for number in range(3):
        new = {"id": f"s{number}", "url": "synthetic://match"}
        assert (await client.post("/v1/streams", json=new)).status_code == 201
    refused = await client.post("/v1/streams", json={"id": "s3", "url": "synthetic://match"})
    assert "4 streams run already" in problem(refused, 409, "limit_reached")["detail"]


async def test_password_is_in_no_answer(client: httpx.AsyncClient) -> None:
    for url in ("rtsp://me:hunter2@camera/1", "rtsp://me:hunter2@[::1/1", "hunter2://x"):
        refused = await client.post("/v1/streams", json={"id": "yard", "url": url})
        assert refused.status_code in (403, 422)
        if "@" in url:
            assert "hunter2" not in refused.text


async def test_object_that_is_not_seen_has_the_box_where_it_may_be(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    hidden = {"area": 0, "box_xyxy": (0, 0, 0, 0), "predicted_box_xyxy": (-2.5, 3.0, 9.0, 8.0)}
    for found, expected in (({}, None), (hidden, [-2.5, 3.0, 9.0, 8.0])):
        daemon.objects.found = found
        for path in ("preview", "objects"):
            answer = (await client.post(f"/v1/streams/gate/{path}", json=BOX)).json()
            assert answer["track"]["bbox_expected"] == expected
            assert answer["latest"]["track"]["bbox_expected"] == expected
        listed = (await client.get("/v1/streams/gate/objects")).json()["objects"]
        assert listed[-1]["bbox_expected"] == expected


async def test_score_that_is_no_number_is_none_at_all(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    daemon.objects.found = {"predicted_iou": math.nan, "object_score": math.inf}
    answer = await client.post("/v1/streams/gate/objects", json=BOX)
    track = answer.json()["track"]
    assert (track["score"], track["object_score"]) == (0.0, 0.0)


async def test_object_from_first_to_last(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    body = BOX | {"label": "keeper", "colour": "#ff0000", "request_id": "click-1"}
    body |= {"points": [{"x": 3.5, "y": 4}, {"x": 1, "y": 1, "positive": False}]}
    body |= {"frame": {"frame_index": 7, "session_id": "s"}}
    started = await client.post("/v1/streams/gate/objects", json=body)
    assert started.status_code == 201
    assert started.headers["location"] == "objects/1"
    answer = started.json()
    assert (answer["request_id"], answer["object_id"], answer["applied"]) == ("click-1", 1, True)
    assert (answer["frame_index"], answer["latest"]["frame_index"]) == (7, 9)
    assert answer["track"]["bbox"] == [0, 0, 4, 3]
    mask = answer["track"]["mask"]
    assert (mask["encoding"], mask["offset"], mask["size"]) == ("rle", [0, 0], [3, 4])
    prompt, further = daemon.objects.prompts[0]
    assert prompt.points_xy == ((3.5, 4.0), (1.0, 1.0))
    assert prompt.point_labels == (1, 0)
    assert prompt.box_xyxy == (1.0, 2.0, 20.0, 22.0)
    assert further["reference"] == FrameReference(7, None, "s")
    listed = (await client.get("/v1/streams/gate/objects")).json()["objects"]
    assert [(each["id"], each["label"], each["colour"]) for each in listed] == [
        (1, "keeper", "#ff0000")
    ]
    url = "/v1/streams/gate/objects/1"
    corrected = await client.post(f"{url}/prompts", json=BOX | {"correct": True})
    assert corrected.status_code == 200
    assert daemon.objects.prompts[1][1]["correct"] is True
    previewed = await client.post("/v1/streams/gate/preview", json=BOX)
    assert previewed.json()["object_id"] == 2
    assert len(daemon.objects.followed) == 1
    assert (await client.patch(url, json={"label": "goalie"})).json()["colour"] == "#ff0000"
    assert (await client.patch(url, json={"colour": None})).json()["colour"] is None
    assert (await client.patch(url, json={})).json()["label"] == "goalie"
    assert (await client.delete(url)).status_code == 204
    for method in ("DELETE", "PATCH"):
        problem(await client.request(method, url, json={}), 404, "unknown_object")


async def test_prompt_that_was_not_applied_is_a_problem(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    daemon.objects.refuses = "frame 3 is 2.1 s old; the history holds 1.0 s"
    refused = await client.post("/v1/streams/gate/objects", json=BOX | {"request_id": "r"})
    document = problem(refused, 422, "prompt_rejected")
    assert (document["reason"], document["request_id"]) == (daemon.objects.refuses, "r")
    assert not daemon.objects.followed


IMPOSSIBLE_PROMPTS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"points": [{"x": 1}]}, "/points/0/y"),
    ({"points": [{"x": "1", "y": None}]}, "/points/0/y"),
    ({"points": [{"x": 1, "y": 2}] * 257}, "/points"),
    ({"points": [{"x": 1e300, "y": 2}]}, "/points/0/x"),
    ({"box": [1, 2, 3]}, "/box/3"),
    ({"box": [3, 2, 1, 4]}, "/box"),
    ({"box": [1, 1, 1, 1]}, "/box"),
    ({"box": [-1e9, 0, 1, 1]}, "/box/0"),
    (BOX | {"object_id": -1}, "/object_id"),
    (BOX | {"object_id": 2**31}, "/object_id"),
    (BOX | {"label": ""}, "/label"),
    (BOX | {"label": "a\nb"}, "/label"),
    (BOX | {"label": "a\x00"}, "/label"),
    (BOX | {"label": "\ud800"}, "/label"),
    (BOX | {"label": "x" * 129}, "/label"),
    (BOX | {"colour": "red"}, "/colour"),
    (BOX | {"colour": "#12345g"}, "/colour"),
    (BOX | {"request_id": "a b"}, "/request_id"),
    (BOX | {"frame": {"frame_index": -1}}, "/frame/frame_index"),
    (BOX | {"frame": {"capture_time_ns": 2**63}}, "/frame/capture_time_ns"),
    (BOX | {"frame": {"index": 1}}, "/frame/index"),
    (BOX | {"timeout": 3}, "/timeout"),
    (BOX | {"mask": {"size": [HEIGHT, WIDTH], "counts": "0"}}, ""),
    ({"mask": rle(np.ones((HEIGHT, WIDTH)))}, "/mask/counts"),
    ({"points": [[1, 2, 3]]}, "/points/0"),
    ({"points": [[1, "right"]]}, "/points/0/y"),
    ({"points": [[1, 2]], "labels": [2]}, "/labels/0"),
    ({"points": [[1, 2]], "labels": [1, 0]}, ""),
    ({"points": [{"x": 1, "y": 2, "positive": False}], "labels": [1]}, ""),
    (BOX | {"labels": [1]}, ""),
    ({"mask": {"size": [HEIGHT, WIDTH + 1], "counts": "0"}}, "/mask/size"),
    ({"mask": {"size": [16384, 16384], "counts": "0"}}, "/mask/size"),
    ({"mask": {"size": [10**9, 10**9], "counts": "0"}}, "/mask/size/0"),
    ({"mask": {"size": [2, 2], "offset": [WIDTH - 1, 0], "counts": "04"}}, "/mask/offset"),
    ({"mask": {"size": [2, 2], "offset": [-1, 0], "counts": "04"}}, "/mask/offset/0"),
    ({"mask": {"size": [2, 2], "encoding": "bits", "counts": "04"}}, "/mask/encoding"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": ""}}, "/mask/counts"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": "zzzz"}}, "/mask/counts"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": "0"}}, "/mask/counts"),
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": "ooooooo0"}}, "/mask/counts"),
    # Far more pixels than there are.
    ({"mask": {"size": [HEIGHT, WIDTH], "counts": "oooooo7" * 4000}}, "/mask/counts"),
]


async def test_prompt_that_cannot_be_is_refused_where_it_is_wrong(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    for body, location in IMPOSSIBLE_PROMPTS:
        content = json.dumps(body)  # which can write halves of surrogate pairs
        refused = await client.post("/v1/streams/gate/objects", content=content, headers=JSON)
        document = problem(refused, 422, "invalid_request")
        assert document["errors"][0]["location"] == location, document
        assert not daemon.objects.prompts


async def test_unknown_field_is_reported_with_its_location(
    client: httpx.AsyncClient,
) -> None:
    refused = await client.post("/v1/streams/gate/objects", json={"boxx": [0, 0, 9, 9]})
    document = problem(refused, 422, "invalid_request")
    unknown = {
        "location": "/boxx",
        "detail": "unknown field; /openapi.json lists the fields",
    }
    assert unknown in document["errors"]


NO_NUMBERS = [
    b'{"box": [NaN, 0, 1, 1]}',
    b'{"box": [0, 0, Infinity, 1]}',
    b'{"box": [0, 0, 1e999, 1]}',
    b'{"points": [{"x": -Infinity, "y": 0}]}',
    b"[]",
    b"3",
    b'"box"',
    b"null",
]


async def test_numbers_that_are_none_are_refused(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    for content in NO_NUMBERS:
        refused = await client.post("/v1/streams/gate/objects", content=content, headers=JSON)
        problem(refused, 422, "invalid_request")
        assert not daemon.objects.prompts


NO_JSON = [
    b"{",
    b"",
    b'{"box": [0,0,1,1]',
    b"\xff\xfe{}",
    b'{"label": "\xff"}',
    b"\x00",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"1" * 10_000,
    b'{"box": [0,0,1,1]} x',
]


async def test_body_that_is_no_json_is_refused(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    for content in NO_JSON:
        refused = await client.post("/v1/streams/gate/objects", content=content, headers=JSON)
        problem(refused, 400 if content else 422, None if content else "invalid_request")
        assert not daemon.objects.prompts


async def test_body_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": media_type} if media_type else {}
        content = json.dumps(BOX).encode()
        refused = await client.post("/v1/streams/gate/objects", content=content, headers=headers)
        problem(refused, 415)


async def test_points_are_taken_as_users_of_sam_write_them(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    for body, labels in (
        ({"points": [[5, 6.5], [7, 8]], "labels": [1, 0]}, (1, 0)),
        ({"points": [[5, 6.5], [7, 8]]}, (1, 1)),
        ({"points": [[5, 6.5], {"x": 7, "y": 8, "positive": False}]}, (1, 0)),
    ):
        answer = await client.post("/v1/streams/gate/objects", json=body)
        assert answer.status_code == 201
        prompt = daemon.objects.prompts[-1][0]
        assert prompt.points_xy == ((5, 6.5), (7, 8))
        assert prompt.point_labels == labels


async def test_mask_of_nearly_the_whole_picture_must_be_insisted_on(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    whole = rle(np.ones((HEIGHT, WIDTH)))
    refused = await client.post("/v1/streams/gate/objects", json={"mask": whole})
    document = problem(refused, 422, "invalid_request")
    assert "covers 100% of the picture: is it inverted?" in document["detail"]
    answer = await client.post("/v1/streams/gate/objects", json={"mask": {**whole, "whole": True}})
    assert answer.status_code == 201
    assert daemon.objects.prompts[-1][0].mask.all()


async def test_mask_of_the_whole_picture_is_a_prompt(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[3:9, 5:20] = True
    answer = await client.post("/v1/streams/gate/objects", json={"mask": rle(mask)})
    assert answer.status_code == 201
    sent = daemon.objects.prompts[0][0].mask
    assert sent is not None
    np.testing.assert_array_equal(sent, mask)


async def test_nothing_is_there_and_nothing_with_this_method(client: httpx.AsyncClient) -> None:
    for path in ("/v1/", "/v1/streams/", "/v2", "/static/", "/favicon.ico", "/docs", "/redoc"):
        problem(await client.get(path), 404)
    for method, path, allowed in (
        ("PUT", "/v1/streams", "GET, HEAD, POST"),
        ("POST", "/v1/streams/gate", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v1/streams/gate/pause", "POST"),
        ("TRACE", "/healthz", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("PROPFIND", "/v1/events", "GET, HEAD"),
    ):
        refused = await client.request(method, path)
        problem(refused, 405)
        assert refused.headers["allow"] == allowed


async def test_unknown_stream_is_reported_by_every_route(client: httpx.AsyncClient) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("GET", "/objects", None),
        ("POST", "/objects", BOX),
        ("POST", "/objects/1/prompts", BOX),
        ("POST", "/preview", BOX),
        ("POST", "/segments", None),
        ("PATCH", "/objects/1", {}),
        ("DELETE", "/objects/1", None),
        ("GET", "/snapshot.jpg", None),
        ("GET", "/video.mjpeg", None),
    ):
        for name in ("nope", "%00", "%F0%9F%98%80", "a%2fb"):
            answer = await client.request(method, f"/v1/streams/{name}{path}", json=body)
            assert answer.status_code in (404, 405), (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_busy_daemon_answers_with_retry_after(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    daemon.streams.error = BusyError("64 prompts wait already")
    refused = await client.get("/v1/streams/gate")
    assert problem(refused, 503, "busy")["detail"] == "64 prompts wait already"
    assert refused.headers["retry-after"] == "1"


async def test_internal_error_is_logged_and_reported_in_a_sentence(
    client: httpx.AsyncClient, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.streams.error = ZeroDivisionError("secret detail")
    refused = await client.get("/v1/streams/gate")
    assert "secret" not in refused.text
    problem(refused, 500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert "secret detail" in caplog.text
    daemon.streams.error = None
    assert (await client.get("/v1/streams/gate")).status_code == 200


async def test_change_is_logged_with_its_author(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await client.delete("/v1/streams/gate%0aINFO%20forged")
        await client.post("/v1/streams/gate/pause")
    lines = [record.getMessage() for record in caplog.records if "streamer.api" in record.name]
    assert lines == ["POST /v1/streams/gate/pause by unrestricted from 127.0.0.1: 200"]


async def test_page_and_its_files_are_served_and_nothing_else(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in WEB_FOLDER.iterdir():
        if path.is_file():
            answer = await client.get(f"/static/{path.name}")
            assert answer.status_code == 200
            assert answer.content == path.read_bytes()
            etag = {"If-None-Match": answer.headers["etag"]}
            again = await client.get(f"/static/{path.name}", headers=etag)
            assert (again.status_code, again.content) == (304, b"")
    for path in (
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "..%5capp.py",
        "....//app.py",
        "%2fetc%2fpasswd",
        "main.js%00.css",
        "main.js/",
        "main.js/../../app.py",
        "%c0%ae%c0%ae/app.py",
    ):
        request = client.build_request("GET", "/static/x")
        request.url = request.url.copy_with(raw_path=f"/static/{path}".encode())
        problem(await client.send(request), 404)


def needed_scope(path: str) -> str:
    """What changes something needs control; watching reads, and a camera publishes."""
    parts = path.split("/")
    return "publish" if "whip" in parts else "read" if "whep" in parts else "control"


async def test_every_route_declares_its_scope(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    open_paths = {"/healthz", "/readyz", "/v1/login", "/v1/logout"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert bool(operation.get("security")) == (path not in open_paths), (method, path)
            assert operation["description"], (method, path)
            assert "application/problem+json" in operation["responses"]["429"]["content"]
            assert all(
                "application/problem+json" in response["content"]
                for status, response in operation["responses"].items()
                if status >= "400"
            ), (method, path)
            if method != "get" and path not in open_paths:
                assert {"bearer": [needed_scope(path)]} in operation["security"], (method, path)


async def test_mask_of_an_answer_can_be_sent_as_it_is(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    crop = np.array([[1, 0, 1], [1, 1, 0]], np.uint8)
    part = rle(crop) | {"offset": [4, 5], "encoding": "rle"}
    answer = await client.post("/v1/streams/gate/objects", json={"mask": part})
    assert answer.status_code == 201, answer.text
    ((prompt, _),) = daemon.objects.prompts
    expected = np.zeros((HEIGHT, WIDTH), np.bool_)
    expected[5:7, 4:7] = crop
    np.testing.assert_array_equal(prompt.mask, expected)


async def test_segments_of_a_frame(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    search = {"points_per_side": 8, "pred_iou_thresh": 0.5}
    body = search | {"frame": {"frame_index": 7}}
    answer = await client.post("/v1/streams/gate/segments", json=body)
    assert answer.status_code == 200, answer.text
    given = search | {"min_mask_region_area": 0, "reference": FrameReference(frame_index=7)}
    assert daemon.objects.searches == [given]
    document = answer.json()
    (segment,) = document.pop("segments")
    assert document == {"frame_index": 7, "session_id": "s", "width": WIDTH, "height": HEIGHT}
    assert (segment["bbox"], segment["area"]) == ([1, 2, 4, 4], 6)
    assert segment["mask"]["offset"] == [1, 2]
    assert segment["mask"]["size"] == [2, 3]
    assert segment["point"] == [1.5, 2.5]


async def test_search_that_cannot_be_is_refused_where_it_is_wrong(
    client: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    for body, location in (
        ({"points_per_side": 0}, "/points_per_side"),
        ({"points_per_side": 65}, "/points_per_side"),
        ({"pred_iou_thresh": 1.1}, "/pred_iou_thresh"),
        ({"points": 3}, "/points"),
    ):
        refused = await client.post("/v1/streams/gate/segments", json=body)
        document = problem(refused, 422, "invalid_request")
        assert document["errors"][0]["location"] == location
    assert not daemon.objects.searches

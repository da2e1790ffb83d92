"""``/v1/events``: as they happen, after a break, and what was missed."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import httpx
import pytest

from streamer.api.api import Api
from streamer.sinks.events import EVENTS_KEPT, EventHub
from streamer.types import EventKind, StreamEvent
from tests.streamer.api.serving import WAIT_S, FakeDaemon, make_api, problem, serving, sinks_of


def event(number: int, stream_id: str = "gate") -> StreamEvent:
    return StreamEvent(stream_id, EventKind.ADDED, time_ns=number, object_id=number)


def hub_of(api: Api) -> EventHub:
    (hub,) = (sink for sink in sinks_of(api) if isinstance(sink, EventHub))
    return hub


async def sse(response: httpx.Response, count: int) -> list[dict[str, str]]:
    """The next events of a stream."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    async with asyncio.timeout(WAIT_S), aclosing(response.aiter_lines()) as lines:
        async for line in lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                found.append(fields)
                fields = {}
            else:
                fields = {}
            if len(found) == count:
                break
    return found


async def test_events_arrive_as_they_happen_and_continue_after_a_break() -> None:
    api = make_api(FakeDaemon("gate", "yard"))
    hub = hub_of(api)
    async with serving(api) as client:
        await hub.publish(event(1))
        async with client.stream("GET", "/v1/events", params={"last": 10}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            await hub.publish(event(2))
            first, second = await sse(response, 2)
        assert first["event"] == "added"
        assert json.loads(first["data"])["object_id"] == 1
        await hub.publish(event(3, "yard"))
        await hub.publish(event(4))
        since = {"Last-Event-ID": second["id"]}
        async with client.stream("GET", "/v1/events", headers=since) as response:
            found = await sse(response, 2)
        assert [json.loads(each["data"])["object_id"] for each in found] == [3, 4]
        only = {"stream": "gate"}
        async with client.stream("GET", "/v1/events", headers=since, params=only) as response:
            (found_one,) = await sse(response, 1)
        assert json.loads(found_one["data"])["object_id"] == 4
        problem(await client.get("/v1/events", params={"stream": "nope"}), 404, "unknown_stream")


@pytest.mark.parametrize(
    ("last_event_id", "count"),
    [
        ("{epoch}-1", 2000 - EVENTS_KEPT - 1),
        ("00000000-7", None),
        ("{epoch}-99999", None),
        ("{epoch}-x", None),
        ("nonsense", None),
        ("{epoch}-" + "9" * 40, None),
    ],
)
async def test_reader_receives_the_count_of_missed_events(
    last_event_id: str, count: int | None
) -> None:
    api = make_api(FakeDaemon("gate"))
    hub = hub_of(api)
    for number in range(1, 2001):
        await hub.publish(event(number))
    async with serving(api) as client:
        since = {"Last-Event-ID": last_event_id.format(epoch=hub.epoch)}
        async with client.stream("GET", "/v1/events", headers=since) as response:
            missed, oldest = await sse(response, 2)
    assert missed["event"] == "missed"
    assert json.loads(missed["data"]) == {"count": count}
    assert json.loads(oldest["data"])["object_id"] == 2001 - EVENTS_KEPT

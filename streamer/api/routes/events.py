"""Events as they happen, server-sent (the HTML standard, section 9.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from streamer.api.server.authorisation import Reader, check_stream
from streamer.api.server.limits import LiveResponse
from streamer.api.server.problems import documented, problems
from streamer.runtime.shares import Shares
from streamer.sinks.events import EVENTS_KEPT, EventHub, Missed
from streamer.sinks.json_messages import json_text

# After this time without an event a comment keeps the connection alive for proxies and clients.
IDLE_S = 15.0
_RETRY_MS = 2000


def events_router(
    hub: EventHub, open_streams: Shares, check_known: Callable[[str], object]
) -> APIRouter:
    """``/v1/events``; ``check_known`` raises ``UnknownStreamError``."""
    router = APIRouter(tags=["events"])

    @router.get(
        "/v1/events",
        response_class=Response,
        responses=documented("a stream of server-sent events", "text/event-stream")
        | problems(401, 403, 404, 422),
    )
    async def events(
        reader: Reader,
        stream: Annotated[str | None, Query(description="only of this stream")] = None,
        last: Annotated[
            int,
            Query(ge=0, le=EVENTS_KEPT, description="start with this many past events"),
        ] = 0,
        last_event_id: Annotated[
            str | None,
            Header(max_length=64, description="continue after this event, as EventSource does"),
        ] = None,
    ) -> Response:
        """Events of all streams or of one, as they happen.

        The event's name is its kind; its data is the same JSON as in the results' WebSocket.
        An event `missed` reports lost events, `{"count": N}`; null where the number is unknown: the
        daemon was restarted, or the reader was away for too long.
        """
        wants: Callable[[str], bool] = reader.may_use
        if stream is not None:
            check_stream(reader, stream)
            wants = stream.__eq__
            check_known(stream)
        start, missed = hub.start_of(last_event_id, last)
        return LiveResponse(
            _lines(hub, start, missed, wants),
            open_streams,
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return router


async def _lines(
    events: EventHub, start: int, missed: Missed | None, wants: Callable[[str], bool]
) -> AsyncIterator[bytes]:
    yield f"retry: {_RETRY_MS}\n\n".encode()
    if missed is not None:
        yield _missed(missed)
    async for item in events.read(start, wants, IDLE_S):
        if item is None:
            yield b": nothing new\n\n"
        elif isinstance(item, Missed):
            yield _missed(item)
        else:
            data = json_text(item.event)
            text = f"id: {events.id_of(item)}\nevent: {item.event.kind}\ndata: {data}\n\n"
            yield text.encode()


def _missed(missed: Missed) -> bytes:
    return f"event: missed\ndata: {json.dumps({'count': missed.count})}\n\n".encode("ascii")

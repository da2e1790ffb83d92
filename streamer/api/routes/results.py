"""Results as JSON over a WebSocket: one text message a frame, event or state."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from streamer.api.context import ApiContext
from streamer.api.server.authorisation import reads_websocket
from streamer.api.server.problems import InvalidField, ProblemError
from streamer.api.server.websocket_protocol import STREAM_GONE
from streamer.sinks.json_messages import JsonMasks
from streamer.sinks.websocket import ResultsReader

_GOING_AWAY = 1001


def results_router(context: ApiContext) -> APIRouter:
    """``/v1/streams/{stream_id}/results``."""
    router = APIRouter(tags=["results"])

    @router.websocket("/v1/streams/{stream_id}/results", dependencies=[reads_websocket])
    async def results(websocket: WebSocket, stream_id: str) -> None:
        """One JSON text a frame, event or state; ``masks`` is rle, polygon or none."""
        context.streams.config(stream_id)
        masks = _masks(websocket.query_params.get("masks", JsonMasks.RLE))
        with context.results.read(stream_id, masks) as reader:
            await websocket.accept()
            await _send_until_gone(websocket, reader)

    return router


def _masks(value: str) -> JsonMasks:
    try:
        return JsonMasks(value)
    except ValueError:
        allowed = f"must be one of {', '.join(JsonMasks)}"
        raise ProblemError(
            422,
            f"query masks: {allowed}",
            "invalid_request",
            errors=[InvalidField("query masks", allowed)],
        ) from None


async def _send_until_gone(websocket: WebSocket, reader: ResultsReader) -> None:
    """Send what the reader gives, until the stream, the daemon or the client ends.

    Sending waits for a client that does not read; its reader drops and counts messages then.
    """
    listening = asyncio.create_task(_listen(websocket))
    sending = asyncio.create_task(_send(websocket, reader))
    tasks = {listening, sending}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not sending.cancelled() and (error := sending.exception()) is not None:
        raise error


async def _listen(websocket: WebSocket) -> None:
    """Ignore what the client sends; return when it is gone."""
    with contextlib.suppress(WebSocketDisconnect):
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass


async def _send(websocket: WebSocket, reader: ResultsReader) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        async for text in reader:
            await websocket.send_text(text)
        if reader.stream_is_gone:
            await websocket.close(STREAM_GONE, "the stream was removed")
        else:
            await websocket.close(_GOING_AWAY, "the daemon stops")

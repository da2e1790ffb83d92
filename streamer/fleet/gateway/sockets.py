"""WebSockets of one stream, passed through to the worker that has it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from streamer.api.server.authorisation import controls_websocket, reads_websocket
from streamer.api.server.problems import ProblemError
from streamer.api.server.websocket_protocol import STREAM_GONE
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.line import Line, away
from streamer.fleet.gateway.pass_through import problem_of_worker

# Bounds of what waits here: messages, and the bytes of one (a frame with the masks of 64 objects).
MESSAGES_WAITING = 4
MESSAGE_BYTES = 16 * 1024 * 1024
# A stream that moved is asked for again at this pace, until it has results elsewhere.
AGAIN_S = 0.25
OPEN_TIMEOUT_S = 10.0
_SERVICE_RESTART = 1012


def sockets_router(fleet: KnownFleet) -> APIRouter:
    """``/v1/streams/{stream_id}/results`` and ``…/detections``."""
    router = APIRouter(prefix="/v1/streams/{stream_id}")

    @router.websocket("/results", dependencies=[reads_websocket])
    async def results(websocket: WebSocket, stream_id: str) -> None:
        """Results of a stream; they go on from its next worker when it moves, or is lost."""
        fleet.stream(stream_id)  # refuses a name that is none
        is_there, is_accepted = True, False
        while is_there and fleet.has(stream_id):
            try:
                async with _to_worker(fleet, websocket, stream_id, "results") as worker:
                    if not is_accepted:
                        await websocket.accept()
                        is_accepted = True
                    is_there = await _results(websocket, worker)
            except ProblemError:
                if not is_accepted:
                    raise
            if is_there:
                is_there = await _is_there_for(websocket, AGAIN_S)
        if is_there:
            await websocket.close(STREAM_GONE, "the stream was removed")

    @router.websocket("/detections", dependencies=[controls_websocket])
    async def detections(websocket: WebSocket, stream_id: str) -> None:
        """A detector's feed; it connects anew when the stream has moved (close code 1012)."""
        async with _to_worker(fleet, websocket, stream_id, "detections") as worker:
            await websocket.accept()
            if await _both_ways(websocket, worker):
                await websocket.close(_SERVICE_RESTART, "the stream's worker ended the connection")

    return router


@asynccontextmanager
async def _to_worker(
    fleet: KnownFleet, websocket: WebSocket, stream_id: str, name: str
) -> AsyncIterator[ClientConnection]:
    """A WebSocket to the worker of a stream, until the block, or the worker, ends.

    Raises ``ProblemError`` for a worker that refuses, is away, or goes away within the block.
    """
    line = fleet.line_of(stream_id)
    query = websocket.url.query
    address = f"{line.http.replace('http', 'ws', 1)}/v1/streams/{quote(stream_id, safe='')}/{name}"
    async with line.lasting():
        try:
            worker = await connect(
                f"{address}?{query}" if query else address,
                additional_headers=line.headers,
                proxy=None,
                compression=None,
                open_timeout=OPEN_TIMEOUT_S,
                max_size=MESSAGE_BYTES,
                max_queue=MESSAGES_WAITING,
            )
        except InvalidStatus as error:
            raise _refused(line, error) from None
        except (WebSocketException, OSError) as error:  # a timeout is an OSError
            raise away(line.worker, type(error).__name__) from None
        async with worker:
            yield worker


def _refused(line: Line, error: InvalidStatus) -> ProblemError:
    try:
        document = json.loads(error.response.body or b"")
    except ValueError:
        document = {}
    status = error.response.status_code
    return problem_of_worker(line, status, document if isinstance(document, dict) else {})


async def _results(websocket: WebSocket, worker: ClientConnection) -> bool:
    """Pass on what the worker sends until either side ends; whether the client is still there."""
    return await _first_of(_listen(websocket), _to_client(websocket, worker))


async def _both_ways(websocket: WebSocket, worker: ClientConnection) -> bool:
    return await _first_of(_to_daemon(websocket, worker), _to_client(websocket, worker))


async def _first_of(
    from_client: Coroutine[Any, Any, None], to_client: Coroutine[Any, Any, None]
) -> bool:
    """Run both until one ends; whether it was the worker's."""
    listening, sending = asyncio.create_task(from_client), asyncio.create_task(to_client)
    tasks = {listening, sending}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return listening.cancelled()


async def _listen(websocket: WebSocket) -> None:
    """Ignore what the client sends; return when it is gone."""
    with contextlib.suppress(WebSocketDisconnect):
        while (await websocket.receive())["type"] != "websocket.disconnect":
            pass


async def _to_daemon(websocket: WebSocket, worker: ClientConnection) -> None:
    with contextlib.suppress(WebSocketDisconnect, ConnectionClosed):
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            text: str | None = message.get("text")
            await worker.send(text if text is not None else message.get("bytes") or b"")


async def _to_client(websocket: WebSocket, worker: ClientConnection) -> None:
    """Sending waits for a client that does not read; the worker then drops frames for it alone."""
    with contextlib.suppress(WebSocketDisconnect, ConnectionClosed):
        async for message in worker:
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)


async def _is_there_for(websocket: WebSocket, seconds: float) -> bool:
    """Wait; whether the client stayed."""
    try:
        async with asyncio.timeout(seconds):
            await _listen(websocket)
    except TimeoutError:
        return True
    return False

"""Detections from outside: one frame's by POST, a steady feed over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.routing import APIRoute
from pydantic import ValidationError

from streamer.api.context import ApiContext
from streamer.api.detection_intake import detail_of, reason_of
from streamer.api.schemas.detections import Detections, DetectionsAnswer
from streamer.api.server.authorisation import controls, controls_websocket
from streamer.api.server.body_limit import JSON_VALUES
from streamer.api.server.problems import problems
from streamer.errors import MaskletError, WireError

# After a message that came too soon: a flood must not have the event loop for itself.
PAUSE_S = 0.001


class _Named(msgspec.Struct):
    request_id: str | None = None


def detections_router(context: ApiContext) -> APIRouter:
    """``/v1/streams/{stream_id}/detections``."""
    intake = context.detections

    class CountedRoute(APIRoute):
        """Counts refusals, those of FastAPI's own validation among them."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def counted(request: Request) -> Response:
                with intake.counting_refusals():
                    return await handle(request)

            return counted

    router = APIRouter(prefix="/v1/streams/{stream_id}", tags=["objects"], route_class=CountedRoute)

    @router.post(
        "/detections",
        dependencies=[controls],
        status_code=202,
        response_model_exclude_none=True,
        responses=problems(401, 403, 404, 409, 415, 422),
    )
    async def receive_detections(stream_id: str, body: Detections) -> DetectionsAnswer:
        """All that a detector of your own found on one frame, for a stream of starter kind `boxes`.

        Detections for a frame that is still to come wait for it. Of those that come faster than
        they are judged the newest count.
        """
        intake.take_turn(stream_id)
        intake.offer(stream_id, body.reference(), await body.detections())
        return DetectionsAnswer(accepted=True, request_id=body.request_id)

    @router.websocket("/detections", dependencies=[controls_websocket])
    async def receive_feed(websocket: WebSocket, stream_id: str) -> None:
        """The same bodies, one a message; answers those with a ``request_id`` and those refused.

        Bounds: the size of a message and the number waiting (``server.py``), the sockets open
        (``api.limits.open_streams``). A client that does not read its answers is not read either.
        """
        context.streams.config(stream_id)  # refuses an unknown stream
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while (message := await websocket.receive())["type"] != "websocket.disconnect":
                answer = await _answer(stream_id, _payload(message))
                if answer.request_id is not None or not answer.accepted:
                    await websocket.send_text(answer.model_dump_json(exclude_none=True))
                # A message that waits is received at once; others must have their turn.
                await asyncio.sleep(PAUSE_S if answer.reason == "rate" else 0)

    async def _answer(stream_id: str, payload: bytes) -> DetectionsAnswer:
        try:
            with intake.counting_refusals():
                intake.take_turn(stream_id)
                body = _read(payload)
                intake.offer(stream_id, body.reference(), await body.detections())
        except (MaskletError, ValidationError) as error:
            return DetectionsAnswer(
                accepted=False,
                request_id=_request_id(payload),
                reason=reason_of(error),
                detail=detail_of(error),
            )
        return DetectionsAnswer(accepted=True, request_id=body.request_id)

    return router


def _payload(message: Mapping[str, Any]) -> bytes:
    """The JSON of a WebSocket message, which may be text or binary."""
    text: str | None = message.get("text")
    binary: bytes | None = message.get("bytes")
    return text.encode() if text is not None else binary or b""


def _read(payload: bytes) -> Detections:
    """Raises ``WireError`` and ``ValidationError``."""
    if payload.count(b",") > JSON_VALUES:
        raise WireError(f"the message holds more than {JSON_VALUES} values")
    return Detections.model_validate_json(payload)


def _request_id(payload: bytes) -> str | None:
    """The ``request_id`` of a message that may be broken."""
    try:
        found = msgspec.json.decode(payload, type=_Named).request_id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return None if found is None else found[:128]

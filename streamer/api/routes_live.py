"""Live pictures and results, and the two WebRTC protocols: thin, over classes that know no HTTP.

Pictures: WHEP, MJPEG where WebRTC does not pass, snapshots. Results: a WebSocket of JSON. WHIP:
a camera that is sent here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response, WebSocket, WebSocketDisconnect

from streamer.api.authorisation import publishes, reads, reads_websocket
from streamer.api.context import ApiContext
from streamer.api.limits import LiveResponse
from streamer.api.problems import InvalidField, ProblemError, busy, documented, problems
from streamer.picture.hub import NoPictureError, PictureBusyError, PictureHub
from streamer.picture.jpeg import MULTIPART_TYPE, multipart
from streamer.picture.view import View
from streamer.picture.whep_server import RTP_OFFSET_HEADER
from streamer.sinks.json_results import JsonMasks, ResultsReader
from streamer.webrtc.http_answer import SDP, SDP_FRAGMENT, HttpAnswer

SMALLEST_WIDTH, LARGEST_WIDTH = 16, 3840
# WebSocket close codes of our own (RFC 6455, section 7.4.2): 4000 + the HTTP status.
STREAM_GONE = 4404
_GOING_AWAY = 1001
_RETRY_AFTER_S = 1

_View = Annotated[View, Query(description="with masks and names drawn in, or as it came")]
_Width = Annotated[
    int | None,
    Query(ge=SMALLEST_WIDTH, le=LARGEST_WIDTH, description="at most so many pixels wide"),
]


def live_router(context: ApiContext) -> APIRouter:
    """Everything of this file."""
    router = APIRouter()
    router.include_router(_pictures(context))
    router.include_router(_results(context))
    router.include_router(_whep(context))
    router.include_router(_whip(context))
    return router


def _pictures(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["pictures"])
    picture = context.picture

    @router.get(
        "/v1/streams/{stream_id}/snapshot.jpg",
        dependencies=[reads],
        response_class=Response,
        responses=documented("the newest tracked frame", "image/jpeg")
        | problems(401, 403, 404, 422),
    )
    async def snapshot(
        stream_id: str, view: _View = View.OVERLAY, width: _Width = None
    ) -> Response:
        """The newest tracked frame as JPEG; 503 with `Retry-After` before there is one."""
        context.streams.config(stream_id)
        try:
            jpeg = await picture.snapshot(stream_id, view, width)
        except NoPictureError as error:
            raise busy(str(error), _RETRY_AFTER_S) from None
        return Response(jpeg, media_type="image/jpeg")

    @router.get(
        "/v1/streams/{stream_id}/video.mjpeg",
        dependencies=[reads],
        response_class=Response,
        responses=documented("one JPEG after another", "multipart/x-mixed-replace")
        | problems(401, 403, 404, 422),
    )
    async def video(stream_id: str, view: _View = View.OVERLAY, width: _Width = None) -> Response:
        """The live picture as Motion JPEG; who reads slowly gets fewer pictures, not older ones.

        `width` is limited by `picture.width`. An `img` element shows it.
        """
        context.streams.config(stream_id)
        try:
            picture.check_jpegs(stream_id, view, width)
        except PictureBusyError as error:
            raise busy(str(error), _RETRY_AFTER_S) from None
        return LiveResponse(
            _parts(picture, stream_id, view, width),
            context.open_streams,
            media_type=MULTIPART_TYPE,
            headers={"X-Accel-Buffering": "no"},
        )

    return router


async def _parts(
    picture: PictureHub, stream_id: str, view: View, width: int | None
) -> AsyncIterator[bytes]:
    with picture.jpegs(stream_id, view, width) as reader:
        async for jpeg in reader:
            yield multipart(jpeg)


def _results(context: ApiContext) -> APIRouter:
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

    Sending waits for a client that does not read; what is lost then is lost in its reader.
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
    """Whatever the client says is ignored; that it is gone is not."""
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


def _whep(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["whep"])
    whep = context.whep

    @router.post(
        "/v1/streams/{stream_id}/whep",
        status_code=201,
        dependencies=[reads],
        response_class=Response,
        responses=_created("an answer; media flow once both sides found each other", watched=True)
        | problems(401, 403, 404, 415, 422),
        openapi_extra=_body(SDP, "an SDP offer that receives one video"),
    )
    async def watch(request: Request, stream_id: str, view: _View = View.OVERLAY) -> Response:
        """Watch a stream over WebRTC (WHEP).

        The video's RTP time less `Masklet-RTP-Offset`, modulo 2^32, is the `rtp_time` of the
        frame's results.
        """
        body, content_type = await _sent(request)
        return _response(await whep.post(stream_id, body, content_type, view))

    @router.patch(
        "/v1/whep/{session_id}",
        dependencies=[reads],
        response_class=Response,
        responses=_patched() | problems(401, 403, 404, 412, 415, 422, 428),
        openapi_extra=_body(SDP_FRAGMENT, "candidates, or new credentials for an ICE restart"),
    )
    async def change_watching(request: Request, session_id: str) -> Response:
        """Add ICE candidates, or restart ICE (RFC 9725, section 4.3)."""
        body, content_type = await _sent(request)
        if_match = request.headers.get("if-match")
        return _response(await whep.patch(session_id, body, content_type, if_match))

    @router.delete(
        "/v1/whep/{session_id}",
        dependencies=[reads],
        response_class=Response,
        responses=_deleted() | problems(401, 403, 404),
    )
    async def stop_watching(session_id: str) -> Response:
        """End a viewer's session."""
        return _response(await whep.delete(session_id))

    return router


def _whip(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["whip"])
    whip = context.whip

    @router.post(
        "/v1/streams/{stream_id}/whip",
        status_code=201,
        dependencies=[publishes],
        response_class=Response,
        responses=_created("an answer; media flow once both sides found each other", watched=False)
        | problems(401, 403, 404, 409, 415, 422),
        openapi_extra=_body(SDP, "an SDP offer that sends one video"),
    )
    async def publish(request: Request, stream_id: str) -> Response:
        """Publish a camera to a stream whose `url` is `whip://` (WHIP, RFC 9725)."""
        body, content_type = await _sent(request)
        return _response(await whip.post(stream_id, body, content_type))

    @router.options("/v1/streams/{stream_id}/whip", include_in_schema=False)
    async def publish_options(stream_id: str) -> Response:  # noqa: ARG001 - the path's
        return _response(whip.endpoint_options())

    @router.patch(
        "/v1/whip/{session_id}",
        dependencies=[publishes],
        response_class=Response,
        responses=_patched() | problems(401, 403, 404, 412, 415, 422, 428),
        openapi_extra=_body(SDP_FRAGMENT, "candidates, or new credentials for an ICE restart"),
    )
    async def change_publishing(request: Request, session_id: str) -> Response:
        """Add ICE candidates, or restart ICE (RFC 9725, section 4.3)."""
        body, content_type = await _sent(request)
        if_match = request.headers.get("if-match")
        return _response(await whip.patch(session_id, body, content_type, if_match))

    @router.delete(
        "/v1/whip/{session_id}",
        dependencies=[publishes],
        response_class=Response,
        responses=_deleted() | problems(401, 403, 404),
    )
    async def stop_publishing(session_id: str) -> Response:
        """End a publisher's session."""
        return _response(await whip.delete(session_id))

    @router.options("/v1/whip/{session_id}", include_in_schema=False)
    async def session_options(session_id: str) -> Response:  # noqa: ARG001 - the path's
        return _response(whip.session_options())

    return router


async def _sent(request: Request) -> tuple[bytes, str | None]:
    return await request.body(), request.headers.get("content-type")


def _response(answer: HttpAnswer) -> Response:
    """The answer in the framework's words. Raises ``ProblemError`` for a refusal."""
    if answer.detail is not None:
        raise ProblemError(answer.status, answer.detail, answer.kind, headers=dict(answer.headers))
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers.append(name, value)
    return response


def _body(media_type: str, description: str) -> dict[str, Any]:
    content = {media_type: {"schema": {"type": "string"}}}
    return {"requestBody": {"description": description, "content": content, "required": True}}


def _created(description: str, *, watched: bool) -> dict[int | str, dict[str, Any]]:
    headers = {
        "Location": _header("The session, for PATCH and DELETE"),
        "ETag": _header("The ICE session, for If-Match"),
        "Link": _header("ICE servers, where any are configured"),
    }
    if watched:
        headers[RTP_OFFSET_HEADER] = _header("What RTP times exceed `rtp_time` by, modulo 2^32")
    content = {SDP: {"schema": {"type": "string"}}}
    return {201: {"description": description, "content": content, "headers": headers}}


def _patched() -> dict[int | str, dict[str, Any]]:
    content = {SDP_FRAGMENT: {"schema": {"type": "string"}}}
    return {
        200: {"description": "ICE restarts: our credentials and candidates", "content": content},
        204: {"description": "The candidates were taken"},
    }


def _deleted() -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "The session is over", "content": {}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}

"""WHEP and WHIP over HTTP: watching and publishing. Thin, over classes that know no HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from streamer.api.context import ApiContext
from streamer.api.routes.pictures import ViewQuery
from streamer.api.server.authorisation import (
    Publisher,
    Reader,
    check_stream,
    may_publish,
    publishes,
    reads,
)
from streamer.api.server.principals import PRINCIPAL, Principal
from streamer.api.server.problems import ProblemError, problems
from streamer.api.webrtc.whep_server import RTP_OFFSET_HEADER
from streamer.sinks.video.view import View
from streamer.webrtc.http_answer import SDP, SDP_FRAGMENT, HttpAnswer

# For a gateway, whose token is bound to no stream: the one that its own client may use.
OfStream = Annotated[str | None, Query(include_in_schema=False)]


def webrtc_router(context: ApiContext) -> APIRouter:
    """The routes of WHEP and WHIP."""
    router = APIRouter()
    router.include_router(_whep(context))
    router.include_router(_whip(context))
    return router


def _whep(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["whep"])
    whep = context.whep

    @router.post(
        "/v1/streams/{stream_id}/whep",
        status_code=201,
        dependencies=[reads],
        response_class=Response,
        responses=_created("an answer; media flow once both sides are connected", watched=True)
        | problems(401, 403, 404, 415, 422),
        openapi_extra=_body(SDP, "an SDP offer that receives one video"),
    )
    async def watch(request: Request, stream_id: str, view: ViewQuery = View.OVERLAY) -> Response:
        """Watch a stream over WebRTC (WHEP).

        The video's RTP time less `Masklet-RTP-Offset`, modulo 2^32, is the `rtp_time` of the
        frame's results.
        """
        body, content_type = await _sent(request)
        viewer: Principal = request.scope["state"][PRINCIPAL]
        return _response(await whep.post(stream_id, body, content_type, viewer, view))

    @router.patch(
        "/v1/whep/{session_id}",
        response_class=Response,
        responses=_patched() | problems(401, 403, 404, 412, 415, 422, 428),
        openapi_extra=_body(SDP_FRAGMENT, "candidates, or new credentials for an ICE restart"),
    )
    async def change_watching(
        request: Request, session_id: str, reader: Reader, stream: OfStream = None
    ) -> Response:
        """Add ICE candidates, or restart ICE (RFC 9725, section 4.3)."""
        _check_session(reader, whep.stream_of(session_id), stream)
        body, content_type = await _sent(request)
        if_match = request.headers.get("if-match")
        return _response(await whep.patch(session_id, body, content_type, if_match))

    @router.delete(
        "/v1/whep/{session_id}",
        response_class=Response,
        responses=_deleted() | problems(401, 403, 404),
    )
    async def stop_watching(session_id: str, reader: Reader, stream: OfStream = None) -> Response:
        """End a viewer's session."""
        _check_session(reader, whep.stream_of(session_id), stream)
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
        responses=_created("an answer; media flow once both sides are connected", watched=False)
        | problems(401, 403, 404, 409, 415, 422),
        openapi_extra=_body(SDP, "an SDP offer that sends one video"),
    )
    async def publish(request: Request, stream_id: str) -> Response:
        """Publish a camera to a stream whose `url` is `whip://` (WHIP, RFC 9725)."""
        body, content_type = await _sent(request)
        publisher: Principal = request.scope["state"][PRINCIPAL]
        return _response(await whip.post(stream_id, body, content_type, publisher))

    @router.options("/v1/streams/{stream_id}/whip", include_in_schema=False)
    async def publish_options(request: Request, stream_id: str) -> Response:  # noqa: ARG001 - the path's
        return _response(whip.endpoint_options(may_publish=may_publish(request)))

    @router.patch(
        "/v1/whip/{session_id}",
        response_class=Response,
        responses=_patched() | problems(401, 403, 404, 412, 415, 422, 428),
        openapi_extra=_body(SDP_FRAGMENT, "candidates, or new credentials for an ICE restart"),
    )
    async def change_publishing(
        request: Request, session_id: str, publisher: Publisher, stream: OfStream = None
    ) -> Response:
        """Add ICE candidates, or restart ICE (RFC 9725, section 4.3)."""
        _check_session(publisher, whip.stream_of(session_id), stream)
        body, content_type = await _sent(request)
        if_match = request.headers.get("if-match")
        return _response(await whip.patch(session_id, body, content_type, if_match))

    @router.delete(
        "/v1/whip/{session_id}",
        response_class=Response,
        responses=_deleted() | problems(401, 403, 404),
    )
    async def stop_publishing(
        session_id: str, publisher: Publisher, stream: OfStream = None
    ) -> Response:
        """End a publisher's session."""
        _check_session(publisher, whip.stream_of(session_id), stream)
        return _response(await whip.delete(session_id))

    @router.options("/v1/whip/{session_id}", include_in_schema=False)
    async def session_options(session_id: str) -> Response:  # noqa: ARG001 - the path's
        return _response(whip.session_options())

    return router


def _check_session(principal: Principal, stream_id: str | None, expected: str | None) -> None:
    """Raise ``ProblemError`` for a session of a stream that is not the principal's (403), or not
    the one that a gateway's client may use (404).
    """
    if stream_id is not None:
        check_stream(principal, stream_id)
        if expected not in (None, stream_id):
            raise ProblemError(404, "no such session of this stream", "unknown_session")


async def _sent(request: Request) -> tuple[bytes, str | None]:
    return await request.body(), request.headers.get("content-type")


def _response(answer: HttpAnswer) -> Response:
    """An ``HttpAnswer`` as the framework's response. Raises ``ProblemError`` for a refusal."""
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
        headers[RTP_OFFSET_HEADER] = _header("RTP times less `rtp_time`, modulo 2^32")
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

"""Pictures over plain HTTP: the newest frame, and Motion JPEG where WebRTC does not pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from streamer.api.context import ApiContext
from streamer.api.server.authorisation import reads
from streamer.api.server.limits import LiveResponse
from streamer.api.server.principals import PRINCIPAL, Principal
from streamer.api.server.problems import busy, documented, problems
from streamer.sinks.video.jpeg import JpegReader
from streamer.sinks.video.multipart import MEDIA_TYPE, for_browsers, for_programs
from streamer.sinks.video.view import View
from streamer.sinks.video.watched_stream import NoPictureError, PictureBusyError

SMALLEST_WIDTH, LARGEST_WIDTH = 16, 3840
_RETRY_AFTER_S = 1

ViewQuery = Annotated[View, Query(description="with masks and names drawn in, or without")]
_Width = Annotated[
    int | None,
    Query(ge=SMALLEST_WIDTH, le=LARGEST_WIDTH, description="largest width in pixels"),
]


def pictures_router(context: ApiContext) -> APIRouter:
    """``/v1/streams/{stream_id}/snapshot.jpg`` and ``…/video.mjpeg``."""
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
        stream_id: str, view: ViewQuery = View.OVERLAY, width: _Width = None
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
    async def video(
        request: Request, stream_id: str, view: ViewQuery = View.OVERLAY, width: _Width = None
    ) -> Response:
        """The live picture as Motion JPEG; a slow reader gets fewer pictures, not older ones.

        `width` is limited by `picture.width`. An `img` element shows it; for a browser that asks
        for an image the parts have no Content-Length and no Masklet-Frame-Index.
        """
        context.streams.config(stream_id)
        principal: Principal = request.scope["state"][PRINCIPAL]
        holder = principal.name if principal.has_token else None
        try:
            picture.check_jpegs(stream_id, view, width, holder)
        except PictureBusyError as error:
            raise busy(str(error), _RETRY_AFTER_S) from None
        return LiveResponse(
            _parts(picture.jpegs(stream_id, view, width, holder), _is_drawn_by_browser(request)),
            context.open_streams,
            media_type=MEDIA_TYPE,
            headers={"X-Accel-Buffering": "no"},
        )

    return router


async def _parts(
    pictures: AbstractContextManager[JpegReader], is_drawn_by_browser: bool
) -> AsyncIterator[bytes]:
    with pictures as reader:
        async for part in for_browsers(reader) if is_drawn_by_browser else for_programs(reader):
            yield part


def _is_drawn_by_browser(request: Request) -> bool:
    """Whether a browser asks for an ``img`` or a page of its own; scripts and programs send */*."""
    accept = request.headers.get("accept", "")
    return "image/" in accept or "text/html" in accept

"""Streams: list, add, change, pause, resume, remove, while the daemon runs."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from streamer.api.context import ApiContext
from streamer.api.routes.url_rules import UrlRules
from streamer.api.schemas.streams import (
    NewStream,
    StreamAnswer,
    StreamChange,
    StreamsAnswer,
    settings_in,
    stream_answer,
)
from streamer.api.server.authorisation import Controller, Reader, check_stream, controls, reads
from streamer.api.server.principals import OWNER, PRINCIPAL
from streamer.api.server.problems import ProblemError, problems
from streamer.errors import UnknownStreamError


def streams_router(context: ApiContext, url_rules: UrlRules) -> APIRouter:
    """``/v1/streams`` and the paths under it, except objects and pictures."""
    router = APIRouter(prefix="/v1/streams", tags=["streams"])
    streams = context.streams

    def described(stream_id: str) -> StreamAnswer:
        config = streams.config(stream_id)
        for status in streams.statuses():
            if status.stream_id == stream_id:
                return stream_answer(status, config, context.starter(stream_id))
        raise UnknownStreamError(f"the stream {stream_id!r} was removed")

    @router.get("", responses=problems(401, 403))
    async def list_streams(reader: Reader) -> StreamsAnswer:
        """The status of every stream; of a bound token, of its streams."""
        return StreamsAnswer(
            streams=[
                stream_answer(
                    status, streams.config(status.stream_id), context.starter(status.stream_id)
                )
                for status in streams.statuses()
                if reader.may_use(status.stream_id)
            ]
        )

    @router.post("", status_code=201, responses=problems(401, 403, 409, 415, 422))
    async def add_stream(
        new: NewStream, controller: Controller, response: Response
    ) -> StreamAnswer:
        """Begin a stream; it survives a restart of the daemon.

        The allowed URLs are configured: `api.url_schemes`, `api.url_hosts`. Over the control
        socket every URL is allowed.
        """
        check_stream(controller, new.id)
        settings = settings_in(new)
        by_owner = controller is OWNER
        if not by_owner:
            await url_rules.check_new(settings)
        if len(list(streams.statuses())) >= context.maximum_streams:
            raise ProblemError(
                409,
                f"{context.maximum_streams} streams run already; remove one first",
                "limit_reached",
            )
        await streams.add_from(new.id, settings, by_owner=by_owner)
        response.headers["Location"] = f"streams/{new.id}"
        return described(new.id)

    @router.get("/{stream_id}", dependencies=[reads], responses=problems(401, 403, 404))
    async def get_stream(stream_id: str) -> StreamAnswer:
        """The status of one stream."""
        return described(stream_id)

    @router.patch(
        "/{stream_id}",
        dependencies=[controls],
        responses=problems(401, 403, 404, 409, 415, 422),
    )
    async def change_stream(stream_id: str, change: StreamChange, request: Request) -> StreamAnswer:
        """Change settings of a stream; its objects stay.

        The camera reconnects only where the change concerns the connection.
        """
        settings = settings_in(change)
        config = streams.config(stream_id)
        by_owner = _is_owner(request)
        if not by_owner:
            settings = await url_rules.check_change(config, settings)
        await streams.change(stream_id, settings, by_owner=by_owner)
        context.keep_stream(stream_id)
        return described(stream_id)

    @router.delete(
        "/{stream_id}",
        dependencies=[controls],
        status_code=204,
        responses=problems(401, 403, 404, 409),
    )
    async def remove_stream(stream_id: str) -> None:
        """End a stream and remove its objects."""
        await streams.remove(stream_id)
        context.keep_stream(stream_id)

    @router.post(
        "/{stream_id}/pause", dependencies=[controls], responses=problems(401, 403, 404, 409)
    )
    async def pause(stream_id: str) -> StreamAnswer:
        """Stop tracking; the camera stays connected and the objects stay."""
        await streams.pause(stream_id)
        context.keep_stream(stream_id)
        return described(stream_id)

    @router.post(
        "/{stream_id}/resume", dependencies=[controls], responses=problems(401, 403, 404, 409)
    )
    async def resume(stream_id: str) -> StreamAnswer:
        """Track again."""
        await streams.resume(stream_id)
        context.keep_stream(stream_id)
        return described(stream_id)

    return router


def _is_owner(request: Request) -> bool:
    """Whether the request came over the control socket, whose user may read the daemon's files."""
    return request.scope["state"][PRINCIPAL] is OWNER

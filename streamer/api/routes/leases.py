"""Streams that a fleet leases to this daemon, over its control socket."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from streamer.api.context import LeaseCommands
from streamer.api.server.principals import OWNER, PRINCIPAL
from streamer.api.server.problems import ProblemError, problems
from streamer.config.streams import StreamConfig


class Lease(BaseModel):
    """A stream, as under `streams.ID` in a file, and its fencing token."""

    model_config = ConfigDict(extra="forbid")

    token: int = Field(ge=1, lt=10**16)
    settings: dict[str, object]


def leases_router(leases: LeaseCommands) -> APIRouter:
    """``/v1/streams/ID/lease``; only the daemon's own user may use it."""
    router = APIRouter(
        prefix="/v1/streams/{stream_id}/lease",
        tags=["streams"],
        dependencies=[Depends(_only_owner)],
        responses=problems(401, 403),
    )

    @router.put("", status_code=204, responses=problems(409, 415, 422, 503))
    async def take(stream_id: str, lease: Lease) -> None:
        """Track a stream as another daemon left it, with its objects.

        One that was added before, paused and without objects, keeps its connection.
        """
        wanted = StreamConfig.read(lease.settings, f"streams.{stream_id}")
        await leases.take(stream_id, wanted, lease.token)

    @router.delete("", status_code=204, responses=problems(404, 409, 503))
    async def leave(stream_id: str, save: bool = True) -> None:
        """Save the stream's newest state for its next daemon, and end it here.

        With `save=false` it ends at once: its lease is over.
        """
        if save:
            await leases.leave(stream_id)
        else:
            await leases.drop(stream_id)

    return router


def _only_owner(request: Request) -> None:
    if request.scope["state"][PRINCIPAL] is not OWNER:
        raise ProblemError(403, "leases are taken over the control socket only", "forbidden")

"""Ending the daemon."""

from __future__ import annotations

from fastapi import APIRouter

from streamer.api.context import ApiContext
from streamer.api.schemas.common import Health
from streamer.api.server.authorisation import controls
from streamer.api.server.problems import problems


def stop_router(context: ApiContext) -> APIRouter:
    """``/v1/stop``."""
    router = APIRouter(tags=["daemon"])

    @router.post("/v1/stop", dependencies=[controls], status_code=202, responses=problems(401, 403))
    async def stop() -> Health:
        """Shut the daemon down, as SIGTERM does: answers under way have a few seconds to end."""
        context.request_stop()
        return Health(status="stopping")

    return router

"""Everything on a stream's newest frame."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from streamer.api.context import ApiContext
from streamer.api.schemas.segments import SegmentsAnswer, SegmentSearch, segments_answer
from streamer.api.server.authorisation import controls
from streamer.api.server.problems import problems


def segments_router(context: ApiContext) -> APIRouter:
    """``/v1/streams/{stream_id}/segments``."""
    router = APIRouter(prefix="/v1/streams/{stream_id}", tags=["objects"])

    @router.post(
        "/segments", dependencies=[controls], responses=problems(401, 403, 404, 409, 415, 422)
    )
    async def find_segments(stream_id: str, search: SegmentSearch | None = None) -> SegmentsAnswer:
        """Masks of everything on the newest frame; nothing is tracked or published.

        One search of a stream at a time, in the time that tracking leaves (`429`, `Retry-After`).
        """
        search = search or SegmentSearch()
        found = await context.objects.segments(
            stream_id, reference=search.reference(), **search.changes()
        )
        # Off the event loop: hundreds of masks take a while to encode.
        return await asyncio.to_thread(segments_answer, found)

    return router

"""Streams of the whole fleet: list, add, change, pause, resume, remove."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Response

from streamer.api.routes.url_rules import UrlRules
from streamer.api.schemas.streams import NewStream, StreamAnswer, StreamChange, settings_in
from streamer.api.server.authorisation import Controller, Reader, check_stream, controls, reads
from streamer.api.server.problems import ProblemError, problems
from streamer.config.streams import StreamConfig
from streamer.fleet.gateway.asking import Asking
from streamer.fleet.gateway.known_fleet import KnownFleet, why_away
from streamer.fleet.view import Stream

_SHOWN_SETTINGS = ("paused", "max_objects", "priority", "ground_plane")


class FleetStreamAnswer(StreamAnswer):
    """One stream of a fleet: as of a daemon, and where it is."""

    worker: str | None
    node: str | None


def _shown(*refusals: int, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The answers of a route. Only documented: a worker may be of another version, with other
    fields.
    """
    return {status: {"model": FleetStreamAnswer}, **problems(*refusals)}


def fleet_streams_router(fleet: KnownFleet, url_rules: UrlRules) -> APIRouter:
    """``/v1/streams`` and ``/v1/streams/{stream_id}``."""
    router = APIRouter(prefix="/v1/streams", tags=["streams"])
    asking = Asking(fleet, "/v1/streams", _rows)

    async def described(stream_id: str, expected: dict[str, Any] | None = None) -> dict[str, Any]:
        """One stream; once its worker shows the ``expected`` settings, if it does so in time."""
        answer: dict[str, Any] = {}

        async def shows() -> bool:
            nonlocal answer
            found = await _asked(fleet, stream_id)
            answer = _described(fleet, fleet.stream(stream_id), found)
            return all(answer[name] == value for name, value in (expected or {}).items())

        await fleet.polled(shows)
        return answer

    async def change(stream_id: str, settings: dict[str, Any]) -> dict[str, Any]:
        fleet.stream(stream_id)
        await fleet.fleet.change(stream_id, settings)
        return await described(
            stream_id, {name: settings[name] for name in _SHOWN_SETTINGS if name in settings}
        )

    @router.get("", responses=problems(401, 403))
    async def list_streams(reader: Reader) -> dict[str, list[dict[str, Any]]]:
        """Every stream of the fleet; of a bound token, its streams.

        One that waits, or whose worker is away, is `connecting`, with the reason.
        """
        found = {
            (worker_id, row["id"]): row
            for worker_id, rows in (await asking.answers()).items()
            for row in rows
        }
        return {
            "streams": [
                _described(fleet, stream, found.get((stream.worker_id or "", stream.stream_id)))
                for stream in fleet.view.streams
                if reader.may_use(stream.stream_id)
            ]
        }

    @router.post(
        "", status_code=201, response_model=None,
        responses=_shown(401, 403, 409, 415, 422, status=201),
    )  # fmt: skip
    async def add_stream(
        new: NewStream, controller: Controller, response: Response
    ) -> dict[str, Any]:
        """Want a stream: the fleet places it where there is room, or it waits for that."""
        check_stream(controller, new.id)
        settings = settings_in(new)
        await url_rules.check_new(settings)
        await fleet.fleet.add(new.id, settings)
        await fleet.until(lambda: fleet.has(new.id))
        response.headers["Location"] = f"streams/{new.id}"
        return await described(new.id)

    @router.get(
        "/{stream_id}", dependencies=[reads], response_model=None,
        responses=_shown(401, 403, 404),
    )  # fmt: skip
    async def get_stream(stream_id: str) -> dict[str, Any]:
        """One stream."""
        return await described(stream_id)

    @router.patch(
        "/{stream_id}", dependencies=[controls], response_model=None,
        responses=_shown(401, 403, 404, 409, 415, 422),
    )  # fmt: skip
    async def change_stream(stream_id: str, body: StreamChange) -> dict[str, Any]:
        """Change settings of a stream; they hold on every worker that it comes to."""
        fleet.stream(stream_id)
        config = StreamConfig.read(await fleet.fleet.settings(stream_id), f"streams.{stream_id}")
        return await change(stream_id, await url_rules.check_change(config, settings_in(body)))

    @router.delete(
        "/{stream_id}", dependencies=[controls], status_code=204,
        responses=problems(401, 403, 404, 409),
    )  # fmt: skip
    async def remove_stream(stream_id: str) -> None:
        """End a stream and remove its objects."""
        await fleet.fleet.remove(stream_id)
        await fleet.until(lambda: not fleet.has(stream_id))

    @router.post(
        "/{stream_id}/pause", dependencies=[controls], response_model=None,
        responses=_shown(401, 403, 404, 409),
    )  # fmt: skip
    async def pause(stream_id: str) -> dict[str, Any]:
        """Stop tracking; the camera stays connected and the objects stay."""
        return await change(stream_id, {"paused": True})

    @router.post(
        "/{stream_id}/resume", dependencies=[controls], response_model=None,
        responses=_shown(401, 403, 404, 409),
    )  # fmt: skip
    async def resume(stream_id: str) -> dict[str, Any]:
        """Track again."""
        return await change(stream_id, {"paused": False})

    return router


def _rows(answer: httpx.Response) -> list[dict[str, Any]]:
    return [row for row in answer.json()["streams"] if row["id"]]


async def _asked(fleet: KnownFleet, stream_id: str) -> dict[str, Any] | None:
    """What its worker says of a stream; None where it cannot say, now."""
    try:
        line = fleet.line_of(stream_id)
        async with line.lasting():
            answer: httpx.Response = await line.client.get(
                f"/v1/streams/{quote(stream_id, safe='')}"
            )
        return dict(answer.json()) if answer.status_code == 200 else None
    except (ProblemError, ValueError):  # away, or no daemon of ours
        return None


def _described(fleet: KnownFleet, stream: Stream, row: dict[str, Any] | None) -> dict[str, Any]:
    worker = fleet.worker(stream.worker_id)
    where = {"worker": stream.worker_id, "node": None if worker is None else worker.node}
    if row is not None:
        return row | where
    if stream.worker_id is None or worker is None:
        detail = why_away(stream)
    else:
        detail = f"worker {worker.worker_id} on {worker.node} does not show it (yet)"
    return {
        "id": stream.stream_id,
        "url": stream.url,
        "state": "connecting",
        "reason": stream.state.value,
        "detail": detail,
        "session_id": None,
        "width": 0,
        "height": 0,
        "frames_decoded": 0,
        "frames_tracked": 0,
        "frames_dropped": {},
        "connect_failures": 0,
        "object_ids": [],
        "paused": False,
        "max_objects": StreamConfig.model_fields["max_objects"].default,
        "priority": stream.priority,
        "ground_plane": [],
        "whip": stream.url.startswith("whip:"),
        "starter": None,
    } | where

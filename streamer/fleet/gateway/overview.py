"""The fleet as a whole: who is alive, what it may do, its machines, their load, their streams."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from typing import Any

import httpx
from fastapi import APIRouter, Request, Response

from streamer.api.access import Access
from streamer.api.schemas.common import Health, Info, Limits
from streamer.api.server.authorisation import Reader, controls, reads
from streamer.api.server.login_cookie import is_secure
from streamer.api.server.problems import ProblemError, documented, problems
from streamer.fleet.gateway.asking import Asking
from streamer.fleet.gateway.config import GatewayApiConfig
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.metrics import FleetMetrics
from streamer.runtime.metrics import CONTENT_TYPE


class FleetInfo(Info):
    """The gateway, its fleet, and the client's rights. Limits are those of all workers together."""

    fleet: str


def overview_router(
    fleet: KnownFleet, access: Access, api: GatewayApiConfig, epoch: str, metrics: FleetMetrics
) -> APIRouter:
    """``/healthz``, ``/readyz``, ``/metrics``, ``/v1/info``, ``/v1/fleet``."""
    router = APIRouter(tags=["fleet"])
    infos = Asking(fleet, "/v1/info", _info)

    @router.get("/healthz", responses=problems())
    async def is_alive() -> Health:
        """The gateway answers. Needs no token."""
        return Health(status="ok")

    @router.get("/readyz", responses=problems())
    async def is_ready() -> Health:
        """The gateway knows its fleet, and one worker of it answers. Needs no token."""
        missing = [] if fleet.is_current else ["the fleet's manager"]
        if not fleet.lines:
            missing.append("every worker")
        if missing:
            raise ProblemError(503, f"not running: {', '.join(missing)}", "not_ready")
        return Health(status="ready")

    @router.get(
        "/metrics",
        dependencies=[reads],
        response_class=Response,
        responses=documented("Prometheus' text format 0.0.4", "text/plain") | problems(401, 403),
    )
    async def metrics_page() -> Response:
        """The fleet's metrics, and those of every worker with the labels `worker` and `node`."""
        return Response(await metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    @router.get("/v1/info", responses=problems(401, 403))
    async def info(request: Request, reader: Reader) -> FleetInfo:
        """The fleet's version, models and limits, and what this client may do."""
        given = list((await infos.answers()).values())

        def total(name: str) -> int:
            return sum(getattr(each.limits, name) for each in given)

        workers = len(fleet.lines)
        return FleetInfo(
            fleet=fleet.view.name,
            version=version("masklet"),
            model=", ".join(sorted({each.model for each in given})) or "no worker",
            device=f"{workers} {'worker' if workers == 1 else 'workers'}",
            epoch=epoch,
            secure=is_secure(request),
            open=access.authorisation.is_open,
            scopes=sorted(reader.scopes),
            streams=reader.streams,
            url_schemes=api.url_schemes,
            limits=Limits(
                streams=total("streams"),
                objects=total("objects"),
                body_bytes=api.limits.body_bytes,
                open_streams=api.limits.open_streams,
                viewers=total("viewers"),
                publishers=total("publishers"),
                history_s=min((each.limits.history_s for each in given), default=0.0),
            ),
        )

    @router.get("/v1/fleet", dependencies=[reads], responses=problems(401, 403))
    async def overview() -> dict[str, Any]:
        """Machines, their load and their streams; not for a token bound to streams.

        `current` is false while the manager is away: then it is what was last known.
        """
        view = fleet.view
        return {
            "name": view.name,
            "revision": view.revision,
            "current": fleet.is_current,
            "draining": view.draining,
            "workers": [
                _plain(each) | {"answers": each.worker_id in fleet.answering}
                for each in view.workers
            ],
            "streams": [_plain(each) for each in view.streams],
            "events": [_plain(each) for each in view.events],
            "totals": _plain(view.totals),
        }

    @router.post("/v1/stop", dependencies=[controls], include_in_schema=False)
    async def stop() -> None:
        raise ProblemError(
            409, "a fleet is ended with `masklet fleet down`, not through its gateway", "refused"
        )

    return router


def _info(answer: httpx.Response) -> Info:
    return Info.model_validate_json(answer.content)


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass of the view as JSON's values."""
    return {
        each.name: _plain_value(getattr(value, each.name))
        for each in dataclasses.fields(value)
        if each.repr  # the others are keys
    }


def _plain_value(value: Any) -> Any:
    return _plain(value) if dataclasses.is_dataclass(value) else value

"""Health checks, metrics, and the daemon's version and limits."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request, Response

from streamer.api.context import ApiContext
from streamer.api.schemas.common import Health, Info, Limits
from streamer.api.server.authorisation import Reader, reads
from streamer.api.server.login_cookie import is_secure
from streamer.api.server.problems import ProblemError, documented, problems
from streamer.runtime.metrics import CONTENT_TYPE


def health_router(context: ApiContext) -> APIRouter:
    """``/healthz``, ``/readyz``, ``/metrics``, ``/v1/info``."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", responses=problems())
    async def is_alive() -> Health:
        """The process answers. Needs no token."""
        return Health(status="ok")

    @router.get("/readyz", responses=problems())
    async def is_ready() -> Health:
        """Results are being made and sent: the model's thread runs and everything listens.

        Needs no token; the answer only names the missing parts.
        """
        if missing := context.not_ready():
            raise ProblemError(503, f"not running: {', '.join(missing)}", "not_ready")
        return Health(status="ready")

    @router.get(
        "/metrics",
        dependencies=[reads],
        response_class=Response,
        responses=documented("Prometheus' text format 0.0.4", "text/plain") | problems(401, 403),
    )
    async def metrics() -> Response:
        """Every metric of the daemon, for Prometheus; not for a token bound to streams."""
        return Response(context.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    @router.get("/v1/info", responses=problems(401, 403))
    async def info(request: Request, reader: Reader) -> Info:
        """The daemon's version, model and limits, and what this client may do."""
        limits = context.config.api.limits
        return Info(
            version=version("masklet"),
            model=context.model_name,
            device=context.device_name,
            epoch=context.events.epoch,
            secure=is_secure(request),
            open=context.authorisation.is_open,
            scopes=sorted(reader.scopes),
            streams=reader.streams,
            url_schemes=context.config.api.url_schemes,
            limits=Limits(
                streams=context.maximum_streams,
                objects=context.config.tracking.max_objects,
                body_bytes=limits.body_bytes,
                open_streams=limits.open_streams,
                viewers=context.config.webrtc.viewers,
                publishers=context.config.webrtc.publishers,
                history_s=context.config.history.duration_s,
            ),
        )

    return router

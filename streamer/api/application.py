"""The routes together, as one ASGI application, and its OpenAPI document."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from streamer.api.context import ApiContext
from streamer.api.routes.detections import detections_router
from streamer.api.routes.events import events_router
from streamer.api.routes.health import health_router
from streamer.api.routes.leases import leases_router
from streamer.api.routes.objects import objects_router
from streamer.api.routes.page import page_router
from streamer.api.routes.pictures import pictures_router
from streamer.api.routes.results import results_router
from streamer.api.routes.segments import segments_router
from streamer.api.routes.session import session_router
from streamer.api.routes.stop import stop_router
from streamer.api.routes.streams import streams_router
from streamer.api.routes.url_rules import UrlRules
from streamer.api.routes.webrtc import webrtc_router
from streamer.api.shell import admitted, without_routes
from streamer.runtime.clock import Clock

_DESCRIPTION = """\
Live video in, masks out: the streams, their objects, prompts, events and pictures of one daemon.

Every refusal is `application/problem+json` (RFC 9457). Where tokens are configured, send
`Authorization: Bearer TOKEN`; for `EventSource`, `WebSocket` and `img` in a browser, `POST
/v1/login` sets a cookie. Pixels are those of the source's frame, boxes half-open x0, y0, x1, y1.
"""


def make_application(context: ApiContext, clock: Clock) -> ASGIApp:
    """Everything that answers requests; served by ``for_network`` and ``for_owner``."""
    return admitted(make_routes(context), context, context.config.api, clock)


def make_routes(context: ApiContext) -> FastAPI:
    """The routes alone, without admission and body limit."""
    application = without_routes(_DESCRIPTION)
    api = context.config.api
    application.include_router(health_router(context))
    application.include_router(session_router(context))
    application.include_router(streams_router(context, UrlRules(api.url_schemes, api.url_hosts)))
    if context.leases is not None:
        application.include_router(leases_router(context.leases))
    application.include_router(objects_router(context))
    application.include_router(segments_router(context))
    application.include_router(detections_router(context))
    application.include_router(
        events_router(context.events, context.open_streams, context.streams.config)
    )
    application.include_router(pictures_router(context))
    application.include_router(results_router(context))
    application.include_router(webrtc_router(context))
    application.include_router(page_router())
    application.include_router(stop_router(context))
    return application

"""Checks of the page a request comes from: against cross-site requests and DNS rebinding.

A browser sends what any page asks for, to any address, with the cookies it has. Two headers that
no page can forge show where a request comes from: ``Host`` (the name that was looked up) and
``Origin`` (the page that asks).
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

from streamer.api.server.problems import ProblemError
from streamer.runtime.address import Address, AddressError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = ("localhost", "*.localhost", "127.0.0.1", "[::1]")


def for_network(
    application: ASGIApp, *, cors_origins: Sequence[str], only_host: str | None
) -> ASGIApp:
    """``application`` for TCP, where browsers reach it.

    ``cors_origins`` are pages of other origins that may call. ``only_host`` is the loopback
    address of a server that is open without a credential: only this machine's own names are
    answered there, because a page of a name that was made to point here (DNS rebinding) sends
    that name. None: every name is answered.
    """
    application = CORSMiddleware(
        application,
        allow_origins=cors_origins,
        allow_methods=("GET", "HEAD", "POST", "PATCH", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "If-Match", "Last-Event-ID"),
        expose_headers=("ETag", "Link", "Location", "Masklet-RTP-Offset", "Retry-After"),
    )
    if only_host is None:
        return application
    own = f"[{only_host}]" if ":" in only_host else only_host
    return TrustedHostMiddleware(application, (*_LOOPBACK_NAMES, own), www_redirect=False)


def check_origin(headers: Headers, cors_origins: Sequence[str]) -> None:
    """Refuse pages of another origin; for WebSockets and requests that change something.

    Programs send no Origin. Raises ``ProblemError`` (403).
    """
    origin = headers.get("origin")
    if origin is None or origin in cors_origins:
        return
    if not _same_origin(origin, headers.get("host", "")):
        raise ProblemError(
            403,
            "pages of another origin may not do this; add the origin to api.cors_origins to "
            "allow it",
            "origin_not_allowed",
        )


def _same_origin(origin: str, host: str) -> bool:
    """Whether ``Origin`` names the ``Host`` that was asked.

    The scheme is not compared: a proxy that ends TLS hides it.
    """
    try:
        page = Address.split(origin)
        asked = Address.split(f"{page.scheme}://{host}")
    except AddressError:
        return False
    return bool(page.host) and page.place == asked.place

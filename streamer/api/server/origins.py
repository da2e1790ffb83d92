"""Which names and pages may use the server: against DNS rebinding and cross-site requests.

A browser sends what any page tells it to, to any address, with the cookies it has. Two headers
that no page can forge say where a request comes from: ``Host`` (the name that was looked up) and
``Origin`` (the page that asks).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from streamer.api.server.problems import ProblemError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_METHODS = "GET, HEAD, POST, PATCH, DELETE"
_REQUEST_HEADERS = "Authorization, Content-Type, If-Match, Last-Event-ID"
_ANSWER_HEADERS = "ETag, Link, Location, Masklet-RTP-Offset, Retry-After"
_PREFLIGHT_LIFETIME_S = 600


class Origins:
    """The rules: ``cors_origins`` are pages of other origins that may call; none by default."""

    def __init__(self, cors_origins: Sequence[str]) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in cors_origins)

    def check_host(self, headers: Headers) -> None:
        """For a server that is open on loopback: only this machine's own names will do.

        A page of a name that was made to point here (DNS rebinding) sends that name. Raises
        ``ProblemError`` (421).
        """
        host = headers.get("host", "")
        name = _host_name(host)
        if name != "localhost" and not name.endswith(".localhost") and not _is_loopback(name):
            raise ProblemError(
                421,
                "without tokens this server answers to localhost, 127.0.0.1 and [::1] only, not "
                "to this Host; configure api.tokens to use other names",
                "host_not_allowed",
            )

    def check_origin(self, headers: Headers) -> None:
        """For what changes something, and for WebSockets: no page of another origin.

        Programs send no Origin. Raises ``ProblemError`` (403).
        """
        origin = headers.get("origin")
        if origin is None or self.may_read(origin):
            return
        if not _same_origin(origin, headers.get("host", "")):
            raise ProblemError(
                403,
                "pages of another origin may not do this; list it in api.cors_origins to let it",
                "origin_not_allowed",
            )

    def may_read(self, origin: str | None) -> bool:
        """Whether pages of this origin are among ``cors_origins``."""
        return origin is not None and origin.lower() in self._allowed

    def allow(self, origin: str, headers: MutableHeaders) -> None:
        """Tell the browser that pages of ``origin`` may read the answer (CORS)."""
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
        headers.add_vary_header("Origin")

    def allow_preflight(self, headers: MutableHeaders) -> None:
        """Tell the browser what such a page may ask."""
        headers["Access-Control-Allow-Methods"] = _METHODS
        headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        headers["Access-Control-Max-Age"] = str(_PREFLIGHT_LIFETIME_S)


def _same_origin(origin: str, host: str) -> bool:
    """Whether ``Origin`` names the ``Host`` that was asked.

    The scheme is not compared: a proxy that ends TLS hides it.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        asked = urlsplit(f"//{host}")
        asked_port = asked.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return False
    return parts.hostname is not None and (parts.hostname, port) == (asked.hostname, asked_port)


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

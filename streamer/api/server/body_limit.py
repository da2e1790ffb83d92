"""Receives the body of a request within bounds of size and time, before a route sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.api.server.principals import (
    ANONYMOUS,
    CREDENTIAL_PROBLEM,
    PRINCIPAL,
    Principal,
)
from streamer.api.server.problems import ProblemError, busy, unauthenticated
from streamer.errors import BusyError
from streamer.runtime.shares import Shares

JSON = "application/json"
BODY_TIMEOUT_S = 30.0
# Bodies that are being received, of all clients together, with shares of the tokens; above it, a
# request is refused. It is more where one body may be larger than half of it.
BODIES_BYTES = 64 * 1024 * 1024
# Far more than a request has. A million invalid values would stop the event loop for seconds.
JSON_VALUES = 8192
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, section 5.6.2
_CONTENT_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})[ \t]*(?:;(.*))?")
_CHARSET = re.compile(r"\bcharset[ \t]*=[ \t]*\"?([^\";\s]*)", re.IGNORECASE)


class BodyLimit:
    """ASGI around the routes: bodies of at most ``body_bytes``, complete in ``BODY_TIMEOUT_S``.

    Routes see one spelling of a content type: in lower case, without parameters, and
    ``application/json`` for every type that is JSON.
    """

    def __init__(self, application: ASGIApp, body_bytes: int, token_names: Collection[str]) -> None:
        self._application = application
        self._body_bytes = body_bytes
        self._held_bytes = Shares(
            max(BODIES_BYTES, 2 * body_bytes), token_names, "bytes of bodies that are received"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket. Raises ``ProblemError``: 401, 408, 413, 415, 503."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._application(scope, receive, send)
            return
        self._check_head(scope)
        body = bytearray()
        principal: Principal = scope["state"][PRINCIPAL]
        try:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    complete = await self._receive(body, receive, principal)
            except TimeoutError:
                raise ProblemError(
                    408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
                ) from None
            if not complete:
                return  # the client left: a part of what it wanted must not be done
            if body.count(b",") > JSON_VALUES:  # of any type: an SDP offer has far fewer
                raise ProblemError(413, f"the body holds more than {JSON_VALUES} values")
            await self._application(_normalised(scope), _Replayed(bytes(body), receive), send)
        finally:
            self._held_bytes.give_back(principal.name, len(body))

    def _check_head(self, scope: Scope) -> None:
        """Refuse, before any of it is read, a body that no route could take."""
        state = scope["state"]
        if state[PRINCIPAL] is ANONYMOUS:
            raise state[CREDENTIAL_PROBLEM] or unauthenticated(
                "a request with a body needs a token"
            )
        headers = Headers(scope=scope)
        _media_type(headers)
        if int(headers.get("content-length", "0")) > self._body_bytes:
            raise self._too_large()

    async def _receive(self, body: bytearray, receive: Receive, principal: Principal) -> bool:
        """Fill ``body``; whether all of it arrived."""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return False
            part: bytes = message.get("body", b"")
            try:
                self._held_bytes.take(principal.name, len(part))
            except BusyError:
                raise busy(f"too many bodies are being received for {principal.name}") from None
            body += part
            if len(body) > self._body_bytes:
                raise self._too_large()
            more = message.get("more_body", False)
        return True

    def _too_large(self) -> ProblemError:
        return ProblemError(
            413, f"the body is larger than {self._body_bytes} bytes (api.limits.body_bytes)"
        )


class _Replayed:
    """Gives a body that was received to the routes, then waits for the client's end."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or int(headers.get("content-length", "0")) > 0


def _normalised(scope: Scope) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    if (media_type := _media_type(headers)) is not None:
        headers["content-type"] = media_type
    return {**scope, "headers": headers.raw}


def _media_type(headers: Headers) -> str | None:
    """The type of a body; None where the client named none.

    Raises ``ProblemError`` (415) for one that could be read in two ways. Which types a route
    takes is up to the route.
    """
    if (encoding := headers.get("content-encoding", "identity")).lower() != "identity":
        raise ProblemError(415, f"Content-Encoding {encoding!r}: send the body without one")
    given = headers.getlist("content-type")
    if not given:
        return None
    found = _CONTENT_TYPE.fullmatch(given[0].strip())
    if len(given) > 1 or found is None:
        raise ProblemError(415, f"Content-Type {', '.join(given)!r}: send one type, such as {JSON}")
    media_type = found[1].lower()
    if media_type != JSON and not re.fullmatch(r"application/.*\+json", media_type):
        return media_type
    if (charset := _CHARSET.search(found[2] or "")) and charset[1].lower() not in ("utf-8", "utf8"):
        raise ProblemError(415, f"JSON in {charset[1]!r}: send it in UTF-8 (RFC 8259)")
    return JSON

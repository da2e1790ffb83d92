"""Receives the body of a request within bounds of size and time, before a route sees it."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.api.server.authorisation import ANONYMOUS, PRINCIPAL
from streamer.api.server.problems import ProblemError, busy

BODY_TIMEOUT_S = 30.0
# Bodies that are being received, of all clients together; above it, a request is refused.
BODIES_BYTES = 64 * 1024 * 1024
_BYTES_WITHOUT_CREDENTIAL = 1024
# Far more than a request has. A million invalid values would stop the event loop for seconds.
JSON_VALUES = 8192


class BodyLimit:
    """ASGI around the routes: bodies of at most ``body_bytes``, complete in ``BODY_TIMEOUT_S``."""

    def __init__(self, application: ASGIApp, body_bytes: int) -> None:
        self._application = application
        self._body_bytes = body_bytes
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket. Raises ``ProblemError``: 408, 413, 503."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._body_bytes
        if scope["state"][PRINCIPAL] is ANONYMOUS:
            limit = min(limit, _BYTES_WITHOUT_CREDENTIAL)
        if int(headers.get("content-length", "0")) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    await self._receive(body, receive, limit)
            except TimeoutError:
                raise ProblemError(
                    408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
                ) from None
            if body.count(b",") > JSON_VALUES and "json" in headers.get("content-type", ""):
                raise ProblemError(413, f"the body holds more than {JSON_VALUES} values")
            await self._application(scope, _Replayed(bytes(body), receive), send)
        finally:
            self._held_bytes -= len(body)

    async def _receive(self, body: bytearray, receive: Receive, limit: int) -> None:
        more = True
        while more:
            message = await receive()
            part: bytes = message.get("body", b"")
            body += part
            self._held_bytes += len(part)
            if len(body) > limit:
                raise _too_large(limit)
            if self._held_bytes > BODIES_BYTES:
                raise busy("too many bodies are being received")
            more = message["type"] == "http.request" and message.get("more_body", False)


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


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, f"the body is larger than {limit} bytes (api.limits.body_bytes)")

"""Every answer of the server: security headers, refusals as problem documents, a log of changes."""

from __future__ import annotations

import logging

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from streamer.api.server.limits import HEAD_ONLY
from streamer.api.server.origins import SAFE_METHODS
from streamer.api.server.principals import PRINCIPAL, Principal
from streamer.api.server.problems import ProblemError, internal_error

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
}
_log = logging.getLogger(__name__)


class Answers:
    """ASGI around everything that refuses requests by raising ``ProblemError``."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        answer = _Answer(scope, send)
        inner = scope
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # Every GET has one; uvicorn leaves the body out.
            inner = {**scope, "method": "GET", HEAD_ONLY: True}
        try:
            await self._application(inner, receive, answer.send)
        except ProblemError as problem:
            await answer.refuse(problem, receive)
        except ClientDisconnected:
            raise  # within the handshake of its WebSocket: the server knows
        except WebSocketDisconnect:
            return  # later
        except Exception as error:
            # A bug in one request must not end the daemon, nor show its internals to the client.
            _log.error(
                "%s %s failed with %s",
                scope.get("method", "WebSocket"),
                _path(scope),
                type(error).__name__,
                exc_info=error,
            )
            await answer.refuse(internal_error(), receive)
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            _log_change(scope, answer.status)


class _Answer:
    """One answer on its way."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._accepted = False
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["path"].startswith("/v1/"):
                headers.setdefault("Cache-Control", "no-store")
            message["headers"] = headers.raw
        elif message["type"] == "websocket.accept":
            self._accepted = True
        elif message["type"] == "websocket.close" and not self._accepted:
            # How Starlette's router refuses a path without a WebSocket.
            raise ProblemError(404, "there is no WebSocket at this path")
        await self._send(message)

    async def refuse(self, problem: ProblemError, receive: Receive) -> None:
        """Answer with ``problem``, unless an answer has begun: then it ends where it is."""
        if self._scope["type"] == "websocket" and self._accepted:
            code = 1011 if problem.status == 500 else 4000 + problem.status
            await self._send(
                {"type": "websocket.close", "code": code, "reason": problem.detail[:120]}
            )
        elif self.status is None:
            await problem.response(_path(self._scope))(self._scope, receive, self.send)


def _log_change(scope: Scope, status: int | None) -> None:
    principal: Principal | None = scope["state"].get(PRINCIPAL)
    if principal is None or status is None:
        return  # refused before its credential was checked, or the client left
    client, _ = scope.get("client") or ("the Unix socket", 0)
    level = logging.INFO if status < 400 else logging.DEBUG
    _log.log(
        level,
        "%s %s by %s from %s: %d",
        scope["method"],
        _path(scope),
        principal.name,
        client,
        status,
    )


def _path(scope: Scope) -> str:
    """The path as it was sent: percent-encoded, so that it holds no control characters."""
    raw: bytes = scope["raw_path"]
    return raw.decode("ascii", "replace")

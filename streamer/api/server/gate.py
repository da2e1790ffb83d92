"""What every request passes before a route sees it, and every answer on its way out.

In this order, the cheap and the general first: host name, rate, origin, credential, body. Each
refusal is a problem document; so is an error of our own, which is logged in full and told in
one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.api.server.authorisation import (
    CREDENTIAL_PROBLEM,
    NOBODY,
    PRINCIPAL,
    Authorisation,
)
from streamer.api.server.limits import (
    HEAD_ONLY,
    ClientRates,
    OpenStreams,
    RunningRequests,
)
from streamer.api.server.origins import (
    SAFE_METHODS,
    Origins,
)
from streamer.api.server.problems import (
    ProblemError,
    busy,
    internal_error,
)

# What still comes of a body that is refused is thrown away for so long.
LINGER_S = 2.0
LONGEST_TARGET = 8192
BODY_TIMEOUT_S = 30.0
# Bodies that are being received, of all clients together; who comes on top is told to wait.
BODIES_BYTES = 64 * 1024 * 1024
# Their credential is in the request itself.
WITHOUT_CREDENTIAL = frozenset({"/v1/login", "/v1/logout"})
_LARGEST_BODY_WITHOUT_CREDENTIAL = 1024
# Far more than a request has. A million small mistakes would stop the event loop for seconds.
JSON_VALUES = 8192
_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
}
_log = logging.getLogger(__name__)


class Gate:
    """ASGI around the routes."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        authorisation: Authorisation,
        origins: Origins,
        rates: ClientRates,
        running: RunningRequests,
        open_streams: OpenStreams,
        body_bytes: int,
        cookie_name: str,
    ) -> None:
        self._application = application
        self._authorisation = authorisation
        self._origins = origins
        self._rates = rates
        self._running = running
        self._open_streams = open_streams
        self._body_bytes = body_bytes
        self._cookie_name = cookie_name
        self._receiving_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        outgoing = _Outgoing(scope, send, self._origins)
        address, _ = scope.get("client") or ("", 0)
        try:
            with self._running.hold(address):
                if scope["type"] == "websocket":
                    self._admit(scope, is_websocket=True)
                    with self._open_streams.hold():
                        await self._application(scope, receive, outgoing.send)
                else:
                    await self._http(scope, receive, outgoing)
        except ProblemError as problem:
            await outgoing.refuse(problem, receive)
        except Exception as error:
            # A mistake of ours must not end the daemon, nor tell a stranger how it is made.
            _log.error(
                "%s %s failed with %s",
                scope.get("method", "WebSocket"),
                _path(scope),
                type(error).__name__,
                exc_info=error,
            )
            await outgoing.refuse(internal_error(), receive)

    async def _http(self, scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        headers = Headers(scope=scope)
        method: str = scope["method"]
        if method == "HEAD":  # every GET has one; uvicorn leaves the body out
            scope = {**scope, "method": "GET", HEAD_ONLY: True}
        self._admit(scope, is_websocket=False)
        if method == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(scope, receive, outgoing, headers)
            return
        body, taken = await self._body(scope, receive, headers)
        outgoing.request_ended = True
        if body.count(b",") > JSON_VALUES and "json" in headers.get("content-type", ""):
            self._receiving_bytes -= taken
            raise ProblemError(413, f"the body holds more than {JSON_VALUES} values")
        try:
            await self._application(scope, _Replayed(body, receive), outgoing.send)
        finally:
            self._receiving_bytes -= taken
        if method not in SAFE_METHODS and outgoing.status is not None:
            principal = scope["state"][PRINCIPAL]
            client = (scope.get("client") or ("",))[0]
            level = logging.INFO if outgoing.status < 400 else logging.DEBUG
            _log.log(
                level,
                "%s %s by %s from %s: %d",
                method,
                _path(scope),
                principal.name,
                client,
                outgoing.status,
            )

    def _admit(self, scope: Scope, *, is_websocket: bool) -> None:
        """Host, rate, origin and credential. Raises ``ProblemError``."""
        connection = HTTPConnection(scope)
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            raise ProblemError(414, f"the URL is longer than {LONGEST_TARGET} bytes")
        if PRINCIPAL in scope.setdefault("state", {}):  # for_owner
            return
        if self._authorisation.is_open:
            self._origins.check_host(connection.headers)
        if connection.client is not None:
            self._rates.take(connection.client.host)
        with_bearer = "authorization" in connection.headers and not self._authorisation.is_open
        changes = is_websocket or scope["method"] not in SAFE_METHODS
        if changes and not with_bearer:  # a bearer token is nothing a browser adds by itself
            self._origins.check_origin(connection.headers)
        state = scope["state"]
        state[PRINCIPAL], state[CREDENTIAL_PROBLEM] = NOBODY, None
        try:
            state[PRINCIPAL] = self._authorisation.principal(connection, self._cookie_name)
        except ProblemError as problem:
            # Told by a route that needs a credential: the page itself needs none, and an ended
            # login must not keep anybody from the page where he can log in.
            state[CREDENTIAL_PROBLEM] = problem

    async def _preflight(
        self, scope: Scope, receive: Receive, outgoing: _Outgoing, headers: Headers
    ) -> None:
        if not self._origins.may_read(headers.get("origin")):
            raise ProblemError(
                403,
                "pages of another origin may not call; list it in api.cors_origins to let it",
                "origin_not_allowed",
            )
        response = Response(status_code=204)
        self._origins.allow_preflight(response.headers)
        await response(scope, receive, outgoing.send)

    async def _body(self, scope: Scope, receive: Receive, headers: Headers) -> tuple[bytes, int]:
        """The whole body, and what of it was counted. Raises ``ProblemError``: 408, 413, 503."""
        limit = self._body_bytes
        if scope["state"][PRINCIPAL] is NOBODY:
            limit = _LARGEST_BODY_WITHOUT_CREDENTIAL
        if int(headers.get("content-length", "0")) > limit:
            raise _too_large(limit)
        parts = bytearray()
        taken = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    part: bytes = message.get("body", b"")
                    taken += len(part)
                    self._receiving_bytes += len(part)
                    if taken > limit:
                        raise _too_large(limit)
                    if self._receiving_bytes > BODIES_BYTES:
                        raise busy("too many bodies are being received")
                    parts += part
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return bytes(parts), taken
        except TimeoutError:
            self._receiving_bytes -= taken
            raise ProblemError(408, f"the body did not come within {BODY_TIMEOUT_S:g} s") from None
        except ProblemError:
            self._receiving_bytes -= taken
            raise


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


class _Outgoing:
    """An answer on its way: headers that all have, and refusals instead of one."""

    def __init__(self, scope: Scope, send: Send, origins: Origins) -> None:
        self._scope = scope
        self._send = send
        self._origins = origins
        self._accepted = False
        self.status: int | None = None
        # Whether the whole request was read; what comes after it is the next one.
        self.request_ended = not _has_body(scope)

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["path"].startswith("/v1/"):
                headers.setdefault("Cache-Control", "no-store")
            origin = Headers(scope=self._scope).get("origin")
            if origin is not None and self._origins.may_read(origin):
                self._origins.allow(origin, headers)
                del headers["Cross-Origin-Resource-Policy"]
            if not self.request_ended:
                headers["Connection"] = "close"  # the rest of the body is not waited for
            message["headers"] = headers.raw
        elif message["type"] == "websocket.accept":
            self._accepted = True
        elif message["type"] == "websocket.close" and not self._accepted:
            # The router's way of saying that there is no WebSocket at this path.
            raise ProblemError(404, "there is no WebSocket at this path")
        await self._send(message)

    async def refuse(self, problem: ProblemError, receive: Receive) -> None:
        """Answer with ``problem``, unless an answer has begun: then it ends as it stands."""
        if self._scope["type"] == "websocket" and self._accepted:
            await self._send({"type": "websocket.close", "code": 1011})
        elif self.status is None:
            response = problem.response(_path(self._scope))
            if self.request_ended:
                await response(self._scope, receive, self.send)
            else:
                await self._refuse_body(response, receive)

    async def _refuse_body(self, response: Response, receive: Receive) -> None:
        """Answer while the body still comes.

        Closing at once would reset the connection, and the client might never see the answer.
        """
        start = {"status": response.status_code, "headers": response.raw_headers}
        await self.send({"type": "http.response.start", **start})
        await self.send({"type": "http.response.body", "body": response.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await receive()).get("more_body", False):
                    pass
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


def _path(scope: Scope) -> str:
    """The path as it was sent: percent-encoded, so that it holds no control characters."""
    raw: bytes = scope["raw_path"]
    return raw[:LONGEST_TARGET].decode("ascii", "replace")


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, f"the body is larger than {limit} bytes (api.limits.body_bytes)")


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

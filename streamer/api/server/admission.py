"""The checks of a request before a route sees it: limits, its origin, its credential."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from streamer.api.server.authorisation import Authorisation
from streamer.api.server.limits import ClientRates, RunningRequests, held_open
from streamer.api.server.login_cookie import LoginCookie
from streamer.api.server.origins import SAFE_METHODS, check_origin
from streamer.api.server.principals import (
    ANONYMOUS,
    CREDENTIAL_PROBLEM,
    PRINCIPAL,
    UNRESTRICTED,
    LoginEndedError,
    Principal,
)
from streamer.api.server.problems import ProblemError, unauthenticated
from streamer.runtime.shares import Shares
from streamer.runtime.sockets import client_of


class Admission:
    """ASGI around the routes; the cheap and general checks come first.

    Requests that carry a principal already (``for_owner``) are not checked.
    """

    def __init__(
        self,
        application: ASGIApp,
        *,
        authorisation: Authorisation,
        cors_origins: Sequence[str],
        rates: ClientRates,
        running: RunningRequests,
        open_streams: Shares,
        cookie: LoginCookie,
    ) -> None:
        self._application = application
        self._authorisation = authorisation
        self._cors_origins = cors_origins
        self._rates = rates
        self._running = running
        self._open_streams = open_streams
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket. Raises ``ProblemError`` to refuse it."""
        if PRINCIPAL in scope["state"]:
            await self._application(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        self._identify(connection)
        client = _client(scope)
        with self._running.hold(client, scope["state"][PRINCIPAL]):
            self._rates.take(client)
            self._check_page(connection)
            if scope["type"] == "websocket":
                await self._web_socket(scope, receive, send)
            else:
                await self._application(scope, receive, send)

    async def _web_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket, until it ends or the login it was opened with."""
        principal: Principal = scope["state"][PRINCIPAL]
        try:
            async with held_open(self._open_streams, principal):
                await self._application(scope, receive, send)
        except LoginEndedError:
            raise unauthenticated("the login has ended; log in again", "invalid_token") from None

    def _check_page(self, connection: HTTPConnection) -> None:
        scope = connection.scope
        with_bearer = "authorization" in connection.headers and not self._authorisation.is_open
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and not with_bearer:  # no browser adds a bearer token by itself
            check_origin(connection.headers, self._cors_origins)

    def _identify(self, connection: HTTPConnection) -> None:
        state = connection.scope["state"]
        state[PRINCIPAL], state[CREDENTIAL_PROBLEM] = ANONYMOUS, None
        try:
            state[PRINCIPAL] = self._authorisation.principal(
                connection.headers, self._cookie.read(connection)
            )
        except ProblemError as problem:
            # Raised by the routes that need a credential: the page itself needs none, and with an
            # ended login it must still load, or there would be no place to log in again.
            state[CREDENTIAL_PROBLEM] = problem


def _client(scope: Scope) -> str:
    """Whom a request counts for: its token, else its address as it is seen outside."""
    principal: Principal = scope["state"][PRINCIPAL]
    if principal in (ANONYMOUS, UNRESTRICTED):
        address, _ = scope["client"] or ("", 0)
        return client_of(address)
    return f"token {principal.name}"

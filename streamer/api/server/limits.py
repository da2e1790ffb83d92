"""Limits of clients: requests a second, requests at once, and streaming answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from streamer.api.server.principals import ANONYMOUS, PRINCIPAL, LoginEndedError, Principal
from streamer.api.server.problems import busy
from streamer.errors import BusyError
from streamer.runtime.clock import Clock
from streamer.runtime.shares import Shares
from streamer.runtime.token_buckets import TokenBuckets

# Bound; policy: the client that was quiet for longest is forgotten, which can only help it.
CLIENTS_REMEMBERED = 4096
HEAD_ONLY = "masklet.head_only"


class ClientRates:
    """Limits each client to ``per_s`` requests a second, ``burst`` at once."""

    def __init__(self, per_s: float, burst: int, clock: Clock) -> None:
        self._per_s = per_s
        self._buckets = TokenBuckets(per_s, burst, clock, CLIENTS_REMEMBERED)

    def take(self, client: str) -> None:
        """Count a request. Raises ``ProblemError`` (429) when there were too many."""
        wait_s = self._buckets.take(client)
        if wait_s:
            raise busy(
                f"more than {self._per_s:g} requests a second from {client} "
                "(api.limits.requests_per_s)",
                math.ceil(wait_s),
                status=429,
            )


def client_share(limit: int) -> int:
    """The share of ``limit`` that one client may hold, so that it cannot lock out all others."""
    return max(1, limit // 2)


class RunningRequests:
    """Counts running requests: at most ``limit`` at once, half of it of one client, and shares of
    the tokens and of those without one.
    """

    def __init__(self, limit: int, token_names: Collection[str]) -> None:
        self._limit = limit
        self._of_client: Counter[str] = Counter()
        self._shares = Shares(
            limit,
            (ANONYMOUS.name, *token_names) if token_names else (),
            "requests that are being answered (api.limits.connections)",
        )

    @contextmanager
    def hold(self, client: str, principal: Principal) -> Iterator[None]:
        """Count one more until the end of the block. Raises ``ProblemError`` (503)."""
        if self._of_client[client] >= client_share(self._limit):
            raise busy(
                f"{client_share(self._limit)} requests of {client} are being answered already", 5
            )
        try:
            self._shares.take(principal.name)
        except BusyError as error:
            raise busy(str(error), 5) from None
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._shares.give_back(principal.name)
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]


@asynccontextmanager
async def held_open(open_streams: Shares, principal: Principal) -> AsyncIterator[None]:
    """One of the connections that stay open, until the block ends or the principal's login does.

    Raises ``ProblemError`` (503), and ``LoginEndedError``.
    """
    with ExitStack() as place:
        try:
            place.enter_context(open_streams.hold(principal.name))
        except BusyError as error:
            raise busy(str(error), 5) from None
        async with principal.lasting():
            yield


class LiveResponse(StreamingResponse):
    """An answer that lasts until the client leaves; counted among the open streams.

    A client that reads slowly delays its own answer only: writing waits, and a connection that
    takes nothing for a while is cut (``server.UNREAD_TIMEOUT_S``).
    """

    def __init__(
        self,
        content: AsyncIterable[bytes],
        open_streams: Shares,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._open_streams = open_streams
        super().__init__(content, media_type=media_type, headers=headers)
        self.headers.setdefault("Cache-Control", "no-store")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the content, the client or its login ends. Raises ``ProblemError`` (503)."""
        if scope.get(HEAD_ONLY):
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        principal: Principal = scope["state"][PRINCIPAL]
        try:
            async with held_open(self._open_streams, principal):
                await super().__call__(scope, receive, send)
        except LoginEndedError:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

"""Closes HTTP connections that wait too long for a request, or are too many.

uvicorn has no deadline for the first request of a connection, nor for one sent byte by byte.
Therefore its table of connections is checked once a second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from streamer.api.server.connections import client_of_connection
from streamer.api.server.http_protocol import HttpProtocol
from streamer.api.server.limits import client_share

# From the connection, or the end of the answer before, to the end of a request's head.
HEAD_TIMEOUT_S = 15.0
CHECK_INTERVAL_S = 1.0
# Bound on data that was written to a connection and not read by its client.
UNREAD_BYTES = 32 * 1024 * 1024


class IdleConnections:
    """Checks the connections of one uvicorn server.

    It closes connections that have waited for a request for ``HEAD_TIMEOUT_S``; waiting ones above
    ``limit``, or above a client's share of it, idle for longest first; and any with more than
    ``UNREAD_BYTES`` that the client has not read. ``proxies`` connect for many clients: the share
    is not theirs.
    """

    def __init__(self, state: ServerState, *, limit: int, proxies: Container[str]) -> None:
        self._state = state
        self._limit = limit
        self._proxies = proxies
        # Of each idle connection: its last request, and since when it is idle (loop time).
        self._idle: dict[HttpProtocol, tuple[RequestResponseCycle | None, float]] = {}

    async def run(self) -> None:
        """Check every ``CHECK_INTERVAL_S``, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self._check(asyncio.get_running_loop().time())

    def _check(self, now_s: float) -> None:
        before, self._idle = self._idle, {}
        of_client: Counter[str] = Counter()
        for connection in tuple(self._state.connections):
            if connection.transport.get_write_buffer_size() > UNREAD_BYTES:
                connection.transport.abort()
                continue
            of_client[client_of_connection(connection)] += 1
            if isinstance(connection, HttpProtocol) and _waits(connection):
                last, since_s = before.get(connection, (None, now_s))
                if last is not connection.cycle:
                    since_s = now_s
                self._idle[connection] = connection.cycle, since_s
        share = client_share(self._limit)
        kept: list[HttpProtocol] = []
        for connection, (_, since_s) in sorted(self._idle.items(), key=lambda entry: entry[1][1]):
            client = client_of_connection(connection)
            is_above = of_client[client] > share and not self._is_proxy(connection)
            if now_s - since_s >= HEAD_TIMEOUT_S or is_above:
                connection.transport.abort()
                of_client[client] -= 1
            else:
                kept.append(connection)
        above = max(0, of_client.total() - self._limit)
        for connection in kept[:above]:
            connection.transport.abort()

    def _is_proxy(self, connection: HttpProtocol) -> bool:
        return connection.client is not None and connection.client[0] in self._proxies


def _waits(connection: HttpProtocol) -> bool:
    """Whether it waits for a request while none is being answered."""
    return connection.cycle is None or connection.cycle.response_complete

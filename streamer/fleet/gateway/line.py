"""The way to one worker: an HTTP client, and an end for its users when the worker is gone."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from streamer.api.server.problems import ProblemError
from streamer.fleet.view import Worker

CONNECT_TIMEOUT_S = 3.0
# A worker ends a search after 60 s; its picture and results send something far more often.
READ_TIMEOUT_S = 75.0
# A connection of the pool is waited for this long; then there are too many requests.
POOL_TIMEOUT_S = 5.0
RETRY_AFTER_S = 2


def away(worker: Worker, why: str = "") -> ProblemError:
    """503: the worker does not answer now."""
    detail = f"worker {worker.worker_id} on {worker.node} does not answer{why and f' ({why})'}: "
    return ProblemError(
        503,
        f"{detail}its streams go on elsewhere if it stays away; try again",
        "worker_away",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


class Line:
    """Requests to one worker.

    Bound: ``connections`` at once; policy: another waits ``POOL_TIMEOUT_S``, then is refused.
    """

    def __init__(self, worker: Worker, http: str, token: str | None, connections: int) -> None:
        """``http`` is the worker's address, ``token`` lets the gateway in."""
        self.worker = worker
        self.http = http
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.client = httpx.AsyncClient(
            base_url=http,
            trust_env=False,
            verify=ssl.create_default_context() if http.startswith("https:") else False,
            headers=self.headers,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=POOL_TIMEOUT_S),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=16),
        )
        self._is_over = False
        self._users: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Cancel the block when the worker is gone.

        Raises ``ProblemError`` (503) then, and for a worker that cannot be reached or breaks off.
        """
        if self._is_over:
            raise away(self.worker)
        try:
            async with asyncio.timeout(None) as until:
                self._users.add(until)
                try:
                    yield
                finally:
                    self._users.discard(until)
        except TimeoutError:
            if until.expired():
                raise away(self.worker) from None
            raise
        except httpx.PoolTimeout:
            raise away(self.worker, "too many requests wait for it") from None
        except httpx.TransportError as error:
            raise away(self.worker, type(error).__name__) from None

    async def close(self) -> None:
        """End everything that uses it."""
        self._is_over = True
        now_s = asyncio.get_running_loop().time()
        for each in self._users:
            if not each.expired():
                each.reschedule(now_s)
        await self.client.aclose()

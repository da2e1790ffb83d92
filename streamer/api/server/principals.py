"""The sender of a request: its name, scopes and streams, and the login it came with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

# Keys of a request's state: its principal, and the problem with its credential.
PRINCIPAL = "principal"
CREDENTIAL_PROBLEM = "credential_problem"


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    CONTROL = "control"
    PUBLISH = "publish"


class LoginEndedError(Exception):
    """The login that a block of code depends on has ended."""


class Login:
    """A browser's login, for ``lifetime_s``. Its end closes what was opened with it."""

    def __init__(self, lifetime_s: float, on_ended: Callable[[], None]) -> None:
        """``on_ended`` is called once. Needs a running event loop."""
        self.is_over = False
        self._closing: set[Callable[[], None]] = {on_ended}
        self._timer = asyncio.get_running_loop().call_later(lifetime_s, self.end)

    def end(self) -> None:
        """End it now."""
        self.is_over = True
        self._timer.cancel()
        closing, self._closing = self._closing, set()
        for close in closing:
            close()

    @contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """Call ``close`` if the login ends within the block, or has ended already."""
        if self.is_over:
            close()
        self._closing.add(close)
        try:
            yield
        finally:
            self._closing.discard(close)


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request: the name of its token, its scopes, and the streams it is bound to.

    ``streams`` are ids in which ``*`` stands for any text; None: every stream. ``login`` is None
    for a request that carries the token itself.
    """

    name: str
    scopes: frozenset[Scope]
    streams: tuple[str, ...] | None = None
    login: Login | None = field(default=None, compare=False)

    @property
    def has_token(self) -> bool:
        """Whether it is one of ``api.tokens``: the same name is the same client."""
        return self.name not in (ANONYMOUS.name, UNRESTRICTED.name, OWNER.name)

    def may_use(self, stream_id: str) -> bool:
        """Whether this stream, which need not exist, is among its streams."""
        return self.streams is None or any(
            fnmatchcase(stream_id, pattern) for pattern in self.streams
        )

    @contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """Call ``close`` if its login ends within the block; a token does not end."""
        if self.login is None:
            yield
            return
        with self.login.closing(close):
            yield

    @asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Cancel the block when its login ends, and raise ``LoginEndedError``."""

        def stop() -> None:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())

        try:
            async with asyncio.timeout(None) as deadline:
                with self.closing(stop):
                    yield
        except TimeoutError:
            if deadline.expired():
                raise LoginEndedError from None
            raise


ANONYMOUS = Principal("anonymous", frozenset())
# Without any token configured the server is on loopback only, and open there.
UNRESTRICTED = Principal("unrestricted", frozenset(Scope))
# On the Unix socket of mode 0600.
OWNER = Principal("owner", frozenset(Scope))

"""Places that many clients use: a bound for all together, and some kept for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from streamer.errors import BusyError


class Shares:
    """Counts what is held: at most ``limit`` at once; policy: more is refused.

    Half of ``limit`` is kept for ``holders``, to equal parts and at least one each, as far as
    there are enough; the other half goes to whoever comes first. Without holders all of it does.
    No holder can push another out, nor can several together.
    """

    def __init__(self, limit: int, holders: Collection[str], things: str) -> None:
        """``things`` names what is counted, in the plural, and its setting."""
        self._limit = limit
        self._things = things
        self._kept = 0
        if holders:
            self._kept = max(limit // (2 * len(holders)), int(len(holders) <= limit))
        self._held: Counter[str] = Counter()
        self._holders = frozenset(holders)

    def __len__(self) -> int:
        return self._held.total()

    def check(self, holder: str, count: int = 1) -> None:
        """Raise ``BusyError`` if there is no place for ``count`` more of this holder."""
        if len(self) + count > self._limit:
            raise BusyError(f"there are {self._limit} {self._things} already; end one first")
        unused = sum(max(0, self._kept - self._held[each]) for each in self._holders - {holder})
        if len(self) + count + unused > self._limit:
            raise BusyError(
                f"{holder} has {self._held[holder]} of {self._limit} {self._things}, and the free "
                "ones are kept for others; end one first"
            )

    @contextmanager
    def hold(self, holder: str) -> Iterator[None]:
        """Hold one more until the end of the block. Raises ``BusyError``."""
        self.take(holder)
        try:
            yield
        finally:
            self.give_back(holder)

    def take(self, holder: str, count: int = 1) -> None:
        """Hold ``count`` more until ``give_back``. Raises ``BusyError``."""
        self.check(holder, count)
        self._held[holder] += count

    def give_back(self, holder: str, count: int = 1) -> None:
        """Hold ``count`` less."""
        self._held[holder] -= count
        if not self._held[holder]:
            del self._held[holder]

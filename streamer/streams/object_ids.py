"""The object ids of a stream that were ever used."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

OUT_OF_ORDER_IDS = 1024


class ObjectIds:
    """Records used ids, so that a new object never gets the id of an old one.

    Bound: ``OUT_OF_ORDER_IDS`` ids above the next unused one; policy: with more, all ids up to the
    lowest of them count as used.
    """

    def __init__(self, first: int = 1, beyond: Sequence[int] = ()) -> None:
        """``first`` and ``beyond``: ``next_unused`` and ``beyond`` of an earlier run."""
        self._next = first
        self._beyond = sorted(beyond)  # used ids above ``_next``

    def next_unused(self) -> int:
        """The smallest id from 1 on that was never used; this does not reserve it."""
        return self._next

    @property
    def beyond(self) -> tuple[int, ...]:
        """Used ids above the next unused one."""
        return tuple(self._beyond)

    def use(self, object_id: int) -> None:
        """Mark an id as used, even if its prompt is rejected later."""
        if object_id > self._next:
            place = bisect_left(self._beyond, object_id)
            if place == len(self._beyond) or self._beyond[place] != object_id:
                insort(self._beyond, object_id)
            if len(self._beyond) > OUT_OF_ORDER_IDS:
                self._next = self._beyond.pop(0) + 1
        elif object_id == self._next:
            self._next += 1
        while self._beyond and self._beyond[0] <= self._next:
            self._next = max(self._next, self._beyond.pop(0) + 1)

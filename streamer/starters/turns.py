"""How many messages of each stream, or of each connection, are taken a second."""

from __future__ import annotations

from collections.abc import Hashable

# Bound: senders that are told apart; policy: the one that was silent for longest is forgotten.
SENDERS = 256


class Turns:
    """A bucket of one second's turns for each sender; an empty one fills at the rate."""

    def __init__(self) -> None:
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # turns left, when; oldest first

    def allows(self, sender: Hashable, now_s: float, rate_hz: float) -> bool:
        """Whether the sender has a turn now, which is taken."""
        size = max(1.0, rate_hz)
        left, then_s = self._buckets.pop(sender, (size, now_s))
        left = min(size, left + max(0.0, now_s - then_s) * rate_hz)
        allowed = left >= 1
        self._buckets[sender] = (left - 1 if allowed else left, now_s)
        if len(self._buckets) > SENDERS:
            del self._buckets[next(iter(self._buckets))]
        return allowed

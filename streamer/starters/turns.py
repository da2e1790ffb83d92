"""How many messages of each stream are taken a second."""

from __future__ import annotations

# Bound: streams that are told apart; policy: the one that was silent for longest is forgotten.
STREAMS = 256


class Turns:
    """A bucket of one second's turns for each stream; an empty one fills at the rate."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._size = max(1.0, rate_hz)
        self._buckets: dict[str, tuple[float, float]] = {}  # turns left, and when; oldest first

    def allows(self, stream_id: str, now_s: float) -> bool:
        """Whether the stream has a turn now, which is taken."""
        left, then_s = self._buckets.pop(stream_id, (self._size, now_s))
        left = min(self._size, left + max(0.0, now_s - then_s) * self._rate_hz)
        allowed = left >= 1
        self._buckets[stream_id] = (left - 1 if allowed else left, now_s)
        if len(self._buckets) > STREAMS:
            del self._buckets[next(iter(self._buckets))]
        return allowed

"""Token buckets: how often each of many clients or streams may do something."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from streamer.runtime.clock import Clock, ns_to_seconds


class TokenBuckets:
    """A bucket for each key: ``burst`` tokens at first, refilled with ``rate_hz`` a second.

    Bound: ``maximum_keys`` buckets; policy: the one unused for longest is dropped, and is full
    when its key returns.
    """

    def __init__(self, rate_hz: float, burst: float, clock: Clock, maximum_keys: int) -> None:
        self._rate_hz = rate_hz
        self._burst = max(1.0, burst)
        self._clock = clock
        self._maximum_keys = maximum_keys
        # Tokens left, and when that was; least recently used first.
        self._buckets: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Take a token: 0 if there was one, else the seconds until there is."""
        now_ns = self._clock.monotonic_ns()
        tokens, filled_ns = self._buckets.pop(key, (self._burst, now_ns))
        tokens = min(self._burst, tokens + ns_to_seconds(now_ns - filled_ns) * self._rate_hz)
        is_empty = tokens < 1
        self._buckets[key] = (tokens if is_empty else tokens - 1, now_ns)
        if len(self._buckets) > self._maximum_keys:
            self._buckets.popitem(last=False)
        return (1 - tokens) / self._rate_hz if is_empty else 0.0

    def __len__(self) -> int:
        return len(self._buckets)

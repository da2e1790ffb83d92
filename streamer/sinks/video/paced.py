"""Thins a stream's pictures to a rate without losing the last one before a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamer.runtime.rate_limit import RateLimit
from streamer.sinks.video.view import Scene


class PacedPictures:
    """Hands pictures on at ``rate_hz`` at most; a viewer of a stream that rests sees its last one.

    Bound: one picture waits, for a period at most; policy: a newer one replaces it. Used on the
    event loop.
    """

    def __init__(self, rate_hz: float, take: Callable[[Scene], None]) -> None:
        self._period_s = 1 / rate_hz
        self._rate_limit = RateLimit(rate_hz)
        self._take = take
        self._held: asyncio.TimerHandle | None = None

    def offer(self, scene: Scene) -> None:
        """Hand this picture on now, or after a period if no newer one comes until then."""
        self.close()
        if self._rate_limit.allows(scene.result.frame.picture.arrival_monotonic_ns):
            self._take(scene)
        else:
            loop = asyncio.get_running_loop()
            self._held = loop.call_later(self._period_s, self._take, scene)

    def close(self) -> None:
        """Drop the picture that waits."""
        if self._held is not None:
            self._held.cancel()
            self._held = None

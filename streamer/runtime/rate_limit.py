"""Thins a stream to a rate (``max_rate_hz``), evenly."""

from __future__ import annotations

from streamer.runtime.clock import seconds_to_ns

_SLACK = 0.25


class RateLimit:
    """Lets frames through at a mean rate of at most ``rate_hz``, evenly.

    A frame may be early by a quarter of a period: cameras jitter, and without slack every
    second frame of a 30 Hz camera limited to 15 Hz would come just too early, which gives
    10 Hz. The times due keep their phase, so that the slack does not add up.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = seconds_to_ns(1 / rate_hz)
        self._due_ns: int | None = None

    def allows(self, time_ns: int) -> bool:
        """Whether to let the frame of this time through; a jump in time starts a new phase."""
        due_ns = self._due_ns
        if due_ns is not None and abs(time_ns - due_ns) > 2 * self._period_ns:
            due_ns = None
        if due_ns is None:
            self._due_ns = time_ns + self._period_ns
            return True
        if time_ns < due_ns - _SLACK * self._period_ns:
            return False
        self._due_ns = due_ns + self._period_ns
        return True

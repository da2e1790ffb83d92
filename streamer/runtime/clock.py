"""Clocks: Unix time for what leaves the process, monotonic time for durations, and waiting.

Code that reads the time or waits is given a ``Clock``; tests pass one that they advance by hand.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

NANOSECONDS_PER_SECOND = 1_000_000_000


class Clock(Protocol):
    """The time, and waiting with a timeout."""

    def unix_ns(self) -> int:
        """Nanoseconds since 1970; may jump when the machine's clock is set."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        """Block the calling thread until ``event`` is set or the time is over; True if set."""


class SystemClock:
    """The machine's own clocks."""

    def unix_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds of ``time.monotonic_ns``."""
        return time.monotonic_ns()

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        """``event.wait``."""
        return event.wait(timeout_s)


def seconds_to_ns(seconds: float) -> int:
    """Whole nanoseconds of a duration given in seconds."""
    return round(seconds * NANOSECONDS_PER_SECOND)


def ns_to_seconds(nanoseconds: int) -> float:
    """Seconds of a duration given in nanoseconds."""
    return nanoseconds / NANOSECONDS_PER_SECOND

"""A deadline for the next picture that ends a read whatever FFmpeg does meanwhile.

PyAV restarts its own timeout with each packet that FFmpeg reads, and returns no packet of a track
that appeared after opening: while only such packets come, its read never ends. But it asks a clock
before each of them and in FFmpeg's interrupt callback. That clock is ours: past the deadline, or
after ``stop``, each answer is later than the one before by more than any timeout, and FFmpeg gives
up the read.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av.container.core

_MORE_THAN_ANY_TIMEOUT_S = 1e9
_reading = threading.local()  # the deadline of this thread's reads


class ReadDeadline:
    """Set by the source's thread, read by any: ``overdue_s`` shows that the thread is blocked."""

    def __init__(self) -> None:
        self._end_s = math.inf
        self._stop = threading.Event()
        self._answers = 0

    @property
    def overdue_s(self) -> float:
        """Seconds since the deadline passed; 0 before it."""
        return max(0.0, time.monotonic() - self._end_s)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return max(0.0, self._end_s - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """Whether the next picture is overdue."""
        return self.overdue_s > 0

    def allow(self, duration_s: float) -> None:
        """Expect the next picture within ``duration_s`` from now."""
        self._end_s = time.monotonic() + duration_s

    @contextmanager
    def ends_reads(self, stop: threading.Event) -> Iterator[None]:
        """Reads of this thread end at the deadline and after ``stop``; afterwards there is none."""
        self._stop = stop
        _reading.deadline = self
        try:
            yield
        finally:
            _reading.deadline = None
            self._end_s = math.inf

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the time while a picture is in the hands of its consumer."""
        left_s, self._end_s = self.left_s, math.inf
        yield
        self._end_s = time.monotonic() + left_s

    @property
    def read_time_left_s(self) -> float:
        """How long a read may take: 0 after the deadline and after ``stop``."""
        return 0.0 if self._stop.is_set() else self.left_s

    def clock_s(self) -> float:
        """PyAV's clock in a thread that reads under this deadline."""
        now_s = time.monotonic()
        if not self._stop.is_set() and now_s < self._end_s:
            return now_s
        self._answers += 1
        return now_s + self._answers * _MORE_THAN_ANY_TIMEOUT_S


def read_time_left_s() -> float:
    """How long a read of this thread may take that FFmpeg does not do itself.

    0 past the deadline and after ``stop``, infinite without a deadline.
    """
    deadline: ReadDeadline | None = getattr(_reading, "deadline", None)
    return math.inf if deadline is None else deadline.read_time_left_s


class _Clock:
    """Stands for the module ``time`` in PyAV, which uses nothing else of it."""

    @staticmethod
    def monotonic() -> float:
        deadline: ReadDeadline | None = getattr(_reading, "deadline", None)
        return time.monotonic() if deadline is None else deadline.clock_s()


av.container.core.time = _Clock  # type: ignore[attr-defined]

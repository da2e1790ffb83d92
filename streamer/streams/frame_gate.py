"""Decides which decoded frames of a stream are tracked: by its pause and its rate limit."""

from __future__ import annotations

import threading

from streamer.config.streams import StreamConfig
from streamer.runtime.rate_limit import RateLimit
from streamer.types import DropReason

PAUSE_POLL_S = 0.1


class FrameGate:
    """Changed on the event loop, asked in the source's thread for each frame."""

    def __init__(self, config: StreamConfig) -> None:
        self._max_rate_hz = config.max_rate_hz
        self._rate_limit = _rate_limit(config)
        self._resumed = threading.Event()
        self.change(config)

    @property
    def paused(self) -> bool:
        """Whether no frame goes to the tracker."""
        return not self._resumed.is_set()

    def change(self, config: StreamConfig) -> None:
        """Apply ``max_rate_hz`` and ``paused``, from the next frame on."""
        if config.max_rate_hz != self._max_rate_hz:
            self._max_rate_hz = config.max_rate_hz
            self._rate_limit = _rate_limit(config)
        if config.paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    def refusal(self, time_ns: int) -> DropReason | None:
        """Why the frame of this time is not tracked; None lets it through."""
        if self.paused:
            return DropReason.PAUSED
        rate_limit = self._rate_limit
        if rate_limit is not None and not rate_limit.allows(time_ns):
            return DropReason.RATE_LIMIT
        return None

    def wait_until_resumed(self, stop: threading.Event) -> None:
        """Hold the thread of a lossless source while its stream is paused, until ``stop``."""
        while not self._resumed.wait(PAUSE_POLL_S):
            if stop.is_set():
                return


def _rate_limit(config: StreamConfig) -> RateLimit | None:
    return RateLimit(config.max_rate_hz) if config.max_rate_hz else None

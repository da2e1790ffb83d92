"""Detects that packets come faster than they are decoded."""

from __future__ import annotations

import time

# Share of the time that a reader must wait; one at the live edge of a stream waits far longer.
_WAITING_SHARE = 0.01
# What one packet may count: after a pause of this process, what piled up is decoded soon.
_LONGEST_STEP_S = 0.5


class Backlog:
    """Judges by how long reading waits, for packets of any track.

    A comparison of presentation times with the clock would mistake a drifting camera clock for a
    backlog. One long wait is not needed: before a track with a thousand packets a second, all
    waits are short.
    """

    def __init__(self, after_s: float) -> None:
        """A backlog is what is left after reading for ``after_s`` almost without waiting."""
        self._after_s = after_s
        self._last_s = time.monotonic()
        self._passed_s = self._waited_s = 0.0

    def grows(self, waited_s: float) -> bool:
        """Whether to discard the packet, of any track, that was waited for so long."""
        now_s = time.monotonic()
        self._passed_s += min(now_s - self._last_s, _LONGEST_STEP_S)
        self._last_s = now_s
        self._waited_s += waited_s
        if self._waited_s >= _WAITING_SHARE * self._after_s:
            self._passed_s = self._waited_s = 0.0
        return self._passed_s > self._after_s

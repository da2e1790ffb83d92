"""Presentation times: noticing that they jumped, and turning them into a pace."""

from __future__ import annotations

import threading
import time

# A longer step between two pictures than the time that really passed, plus this, is a jump:
# a camera that paused also let real time pass, and jitter is far smaller.
_JUMP_S = 10.0
# A player that fell further behind than this goes on from where it is instead of hurrying.
_LATE_S = 1.0


class DiscontinuityWatch:
    """Says when presentation times went back or jumped ahead of real time."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def observe(self, presentation_s: float, monotonic_s: float) -> str | None:
        """What is wrong with the step to this picture, or None.

        ``monotonic_s`` is when the picture arrived; pass the presentation time again for media
        that are read faster than they play.
        """
        last, self._last = self._last, (presentation_s, monotonic_s)
        if last is None:
            return None
        step_s = presentation_s - last[0]
        if step_s < 0:
            return f"presentation time went back by {-step_s:.3f} s"
        if step_s - (monotonic_s - last[1]) > _JUMP_S:
            return f"presentation time jumped ahead by {step_s:.3f} s"
        return None


class Pacer:
    """Holds pictures back until they are due, so that recorded media play in real time.

    The first picture is due at once, each other one its presentation time later. After a jump
    or a long delay the clock is set anew.
    """

    def __init__(self) -> None:
        self._anchor: tuple[float, float] | None = None
        self._last_presentation_s = 0.0

    def wait(self, presentation_s: float, stop: threading.Event) -> float:
        """Wait until the picture is due or ``stop`` is set; returns how late it is, in seconds."""
        now_s = time.monotonic()
        step_s = presentation_s - self._last_presentation_s
        self._last_presentation_s = presentation_s
        if self._anchor is not None:
            delay_s = self._anchor[1] + presentation_s - self._anchor[0] - now_s
            if delay_s > -_LATE_S and 0 <= step_s <= _JUMP_S:
                if delay_s > 0:
                    stop.wait(delay_s)
                return max(0.0, time.monotonic() - now_s - delay_s)
        self._anchor = (presentation_s, now_s)
        return 0.0

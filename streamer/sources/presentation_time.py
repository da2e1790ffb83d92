"""Presentation times: detecting jumps, and playing in real time."""

from __future__ import annotations

import threading
import time

# A step between two pictures that exceeds the real time passed by more than this is a jump: a pause
# of the camera also takes real time, and jitter is far smaller.
_JUMP_S = 10.0
# A player further behind than this continues from where it is instead of catching up.
_LATE_S = 1.0


class DiscontinuityWatch:
    """Detects presentation times that went back or jumped ahead of real time."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._last_step_s = 0.0

    def observe(self, presentation_s: float, monotonic_s: float) -> str | None:
        """The jump before this picture in words; None if there was none.

        ``monotonic_s`` is when the picture arrived; a constant for media that are read faster
        than they play. A step as long as the one before is none: a time lapse has only such.
        """
        last, self._last = self._last, (presentation_s, monotonic_s)
        if last is None:
            return None
        step_s = presentation_s - last[0]
        if step_s < 0:
            return f"presentation time went back by {-step_s:.3f} s"
        last_step_s, self._last_step_s = self._last_step_s, step_s
        if step_s - (monotonic_s - last[1]) > max(_JUMP_S, 1.5 * last_step_s):
            return f"presentation time jumped ahead by {step_s:.3f} s"
        return None


class Pacer:
    """Delays pictures until they are due, so that recorded media play in real time.

    The first picture is due at once, each other one at its presentation time after that. A jump
    or a long delay restarts the clock.
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

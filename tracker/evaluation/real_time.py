"""The frames that a tracker of a given speed misses on a live camera.

As in the real-time challenge of VOT: frames arrive at the camera's rate, and after each step the
tracker takes the newest one. Missed frames keep the previous result. The step that starts the first
object is free (the challenge allows time to initialise).
"""

from __future__ import annotations

import math
from typing import Protocol


class Pace(Protocol):
    """Counts the frames that arrive while a step runs."""

    def begin(self, rate_hz: float) -> None:
        """Start a clip whose camera has ``rate_hz`` frames per second."""

    def frames_lost(self, step_s: float) -> int:
        """The number of frames missed by a step of ``step_s`` seconds."""


class MeasuredPace:
    """Steps take their measured time. ``rate_hz`` replaces the clip's own rate if given."""

    def __init__(self, rate_hz: float | None = None) -> None:
        if rate_hz is not None and not rate_hz > 0:
            raise ValueError(f"a camera's rate must be above 0, got {rate_hz}")
        self._given_hz = rate_hz
        self._period_s = 0.0
        self._late_s = 0.0

    def begin(self, rate_hz: float) -> None:
        """Start the clip's clock at its first frame."""
        self._period_s = 1.0 / (self._given_hz or rate_hz)
        self._late_s = 0.0

    def frames_lost(self, step_s: float) -> int:
        """Frames missed before the next one is taken.

        If a frame is waiting when a step ends, the next step starts late; the delay carries over.
        """
        done_s = self._late_s + step_s  # from the arrival of the frame that was tracked
        # The next frame is the newest that has arrived by then; if none has, the tracker waits.
        ahead = max(1, math.floor(done_s / self._period_s + 1e-9))
        self._late_s = max(0.0, done_s - ahead * self._period_s)
        return ahead - 1


class SimulatedPace(MeasuredPace):
    """Every step takes 1 / ``steps_per_s``: comparable between machines."""

    def __init__(self, steps_per_s: float, rate_hz: float | None = None) -> None:
        super().__init__(rate_hz)
        if not steps_per_s > 0:
            raise ValueError(f"a tracker's speed must be above 0 steps/s, got {steps_per_s}")
        self._step_s = 1.0 / steps_per_s

    def frames_lost(self, step_s: float) -> int:  # noqa: ARG002 - what was measured is ignored
        """Frames missed by a step of the simulated duration."""
        return super().frames_lost(self._step_s)

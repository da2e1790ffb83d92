"""Which frames a tracker of some speed would have missed on a live camera.

As in the real-time challenge of VOT: frames come at the camera's rate; while a step is running
they go by, and the tracker takes the newest one when it is done. Frames that went by keep the
result before them. The step that starts the first object is not counted (the challenge allows
trackers time to initialise).
"""

from __future__ import annotations

import math
from typing import Protocol


class Pace(Protocol):
    """Says how many frames go by while a step runs."""

    def begin(self, rate_hz: float) -> None:
        """A clip begins whose camera gives ``rate_hz`` frames a second."""

    def frames_lost(self, step_s: float) -> int:
        """The step that was just measured took ``step_s``; how many frames it cost."""


class MeasuredPace:
    """Steps take what they took. ``rate_hz`` stands in for the clip's own rate if given."""

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
        """Frames that come and go before the next one can be taken.

        A step that ends with a frame waiting begins the next one late: the delay is carried on.
        """
        done_s = self._late_s + step_s  # from the arrival of the frame that was tracked
        # The newest frame that has arrived by then is the next one; if none has, we wait.
        ahead = max(1, math.floor(done_s / self._period_s + 1e-9))
        self._late_s = max(0.0, done_s - ahead * self._period_s)
        return ahead - 1


class SimulatedPace(MeasuredPace):
    """Every step takes 1 / ``steps_per_s``, whatever this machine does: the same everywhere."""

    def __init__(self, steps_per_s: float, rate_hz: float | None = None) -> None:
        super().__init__(rate_hz)
        if not steps_per_s > 0:
            raise ValueError(f"a tracker's speed must be above 0 steps/s, got {steps_per_s}")
        self._step_s = 1.0 / steps_per_s

    def frames_lost(self, step_s: float) -> int:  # noqa: ARG002 - what was measured is ignored
        """As if the step had taken the simulated time."""
        return super().frames_lost(self._step_s)

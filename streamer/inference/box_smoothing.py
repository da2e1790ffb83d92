"""Reduces the jitter of boxes: the One Euro filter, for all objects of a stream at once.

Casiez, Roussel & Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012. A slow box is smoothed strongly and a fast one weakly: jitter shows
at rest, lag in motion. Speeds are in box sizes per second, so that near and far objects are treated
alike.

Knows no stream and no configuration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracker.types import Track

FloatArray = npt.NDArray[np.float64]
FloatBox = tuple[float, float, float, float]
SPEED_CUTOFF_HZ = 1.0  # of the speed that sets a box's own cutoff; the paper's
LONGEST_STEP_S = 1.0  # after a longer pause the filter restarts


@dataclass(frozen=True, slots=True)
class BoxSmoothing:
    """``cutoff_hz`` of a box at rest; ``speed_factor`` is added per box size per second."""

    cutoff_hz: float = 1.5
    speed_factor: float = 4.0

    def lag_s(self, speed: float) -> float:
        """The lag in seconds of a box that moves ``speed`` box sizes per second."""
        return 1 / (2 * math.pi * (self.cutoff_hz + speed * self.speed_factor))


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Smoothing of a stream's results; ``boxes`` None and ``masks`` 0 switch it off."""

    boxes: BoxSmoothing | None = None
    masks: float = 0.0


class BoxSmoother:
    """Smooths the boxes of one stream's objects, frame after frame.

    The filter restarts for an object that was not visible on the frame before, after a pause, and
    when the frame size changes.
    Bound: the objects of the last frame.
    """

    def __init__(self, smoothing: BoxSmoothing) -> None:
        self._smoothing = smoothing
        self._row_of: dict[int, int] = {}
        self._raw_N4: FloatArray = np.zeros((0, 4))
        self._box_N4: FloatArray = np.zeros((0, 4))
        self._speed_N4: FloatArray = np.zeros((0, 4))
        self._time_ns = 0
        self._size = (0, 0)

    def smooth(self, tracks: Sequence[Track], time_ns: int) -> dict[int, FloatBox]:
        """The smoothed box, x0 y0 x1 y1 in source pixels, of every visible object."""
        seen = [track for track in tracks if track.area > 0]
        box_N4 = np.array([track.box_xyxy for track in seen], dtype=np.float64).reshape(-1, 4)
        step_s = (time_ns - self._time_ns) / 1e9
        # A new box starts at rest.
        before = np.array([self._row_of.get(track.object_id, -1) for track in seen], dtype=np.intp)
        size = (seen[0].frame_width, seen[0].frame_height) if seen else self._size
        if not 0 < step_s <= LONGEST_STEP_S or size != self._size:
            before[:] = -1
        self._size = size
        known = before >= 0
        past_N4, raw_N4, speed_N4 = box_N4.copy(), box_N4.copy(), np.zeros_like(box_N4)
        past_N4[known] = self._box_N4[before[known]]
        raw_N4[known] = self._raw_N4[before[known]]
        speed_N4[known] = self._speed_N4[before[known]]
        if known.any():
            size_N1 = np.maximum(box_N4[:, 2:] - box_N4[:, :2], 1.0).max(axis=1, keepdims=True)
            newest_N4 = (box_N4 - raw_N4) / (step_s * size_N1)
            speed_N4 += _share(np.full(1, SPEED_CUTOFF_HZ), step_s) * (newest_N4 - speed_N4)
            speed_N4[~known] = 0.0
            cutoff_N4 = self._smoothing.cutoff_hz + self._smoothing.speed_factor * abs(speed_N4)
            past_N4 += _share(cutoff_N4, step_s) * (box_N4 - past_N4)
        self._row_of = {track.object_id: row for row, track in enumerate(seen)}
        self._raw_N4, self._box_N4, self._speed_N4 = box_N4, past_N4, speed_N4
        self._time_ns = time_ns
        x0, y0, x1, y1 = past_N4.T.tolist()
        boxes = zip(x0, y0, x1, y1, strict=True)
        return {track.object_id: box for track, box in zip(seen, boxes, strict=True)}

    def restart(self, object_id: int) -> None:
        """Discard an object's past: it was prompted."""
        self._row_of.pop(object_id, None)


def _share(cutoff_hz: FloatArray, step_s: float) -> FloatArray:
    """The weight of a new value in a first-order low-pass filter after ``step_s``."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * step_s))

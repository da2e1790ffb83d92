"""The overload policy that tracks smaller images: at which size, and until when.

Plain Python without I/O or a clock, like ``overload``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamer.inference.load.meter import Load
from streamer.inference.load.overload import RECOVERED_SHARE, Overload, OverloadChange
from streamer.inference.load.rate_shares import OverloadPolicy

# An increase undone within ``_RELAPSE × end_after_s`` was premature: double the wait, up to
# ``_LONGEST_PATIENCE × end_after_s``.
_RELAPSE = 10
_LONGEST_PATIENCE = 32


class SmallerImage(Overload):
    """Switches to the next smaller size under overload, and back when the larger one would fit.

    Down: after ``begin_after_s`` of lost frames and demand above capacity. At the smallest size,
    streams take turns with their newest frames. Up: after ``end_after_s`` of demand clearly below
    the predicted capacity at the larger size: the present one, divided by what the switch had
    gained. A premature increase lengthens the next wait, so that sizes do not switch back and
    forth even if the prediction is poor.

    Bound: two numbers per stream, one per size.
    """

    def __init__(
        self, sizes: Sequence[int], floor_hz: float, begin_after_s: float, end_after_s: float
    ) -> None:
        """``sizes``: image sizes in pixels, largest first. Raises ValueError for fewer than two."""
        super().__init__(OverloadPolicy.SMALLER_IMAGE, floor_hz, begin_after_s, end_after_s)
        if len(sizes) < 2:
            raise ValueError(f"there is no smaller size than {sizes[0]}")
        self._sizes = tuple(sizes)
        self._place = 0
        # The cost of a frame at each size, relative to the next smaller size.
        self._dearer = [
            (larger / smaller) ** 2
            for larger, smaller in zip(self._sizes, self._sizes[1:], strict=False)
        ]
        self._before: tuple[int, float] | None = None  # the last size and its cost, until compared
        self._windows_since = 1  # since the last change
        self._overloaded_s = self._fitting_s = 0.0
        self._since_up_s = math.inf
        self._patience = 1
        self._told_place: dict[str, int] = {}

    @property
    def active(self) -> bool:
        """Whether the device cannot keep up at full size."""
        return self._place > 0

    @property
    def image_size(self) -> int:
        """The image size to track at."""
        return self._sizes[self._place]

    def observe(self, load: Load) -> list[OverloadChange]:
        """Process a window; returns the changes by stream."""
        self._measure(load)
        if self._frame_s is None:
            return []
        self._since_up_s += load.window_s
        self._windows_since += 1
        if self._windows_since > 1:  # the first window includes the switch itself
            self._compare()
            self._decide(load, self._frame_s)
        return self._tell() if self._place else self._recover(1 / self._frame_s)

    def forget(self, stream_id: str) -> None:
        """Remove a stream; nothing more is reported about it."""
        super().forget(stream_id)
        self._told_place.pop(stream_id, None)

    @property
    def _cost_weight(self) -> float:
        """After a change the prediction counts for one window; then the measurement replaces it."""
        if self._before is None:
            return super()._cost_weight
        return float(self._windows_since)

    def _compare(self) -> None:
        """Record what the last change gained."""
        if self._before is None or self._frame_s is None:
            return
        place, cost_s = self._before
        ratio = cost_s / self._frame_s if place < self._place else self._frame_s / cost_s
        self._dearer[min(place, self._place)] = max(ratio, 1.0)
        self._before = None

    def _decide(self, load: Load, frame_s: float) -> None:
        overloaded = self._loses_frames(load) and self._exceeds(1 / frame_s)
        self._overloaded_s = self._overloaded_s + load.window_s if overloaded else 0.0
        if self._place + 1 < len(self._sizes) and self._overloaded_s >= self._begin_after_s:
            relapsed = self._since_up_s < _RELAPSE * self._end_after_s
            self._patience = min(2 * self._patience, _LONGEST_PATIENCE) if relapsed else 1
            self._go_to(self._place + 1, frame_s / self._dearer[self._place])
            return
        if self._place == 0:
            return
        larger_frame_s = frame_s * self._dearer[self._place - 1]
        fits = not self._exceeds(RECOVERED_SHARE / larger_frame_s)
        self._fitting_s = self._fitting_s + load.window_s if fits else 0.0
        if self._fitting_s >= self._end_after_s * self._patience:
            self._since_up_s = 0.0
            self._go_to(self._place - 1, larger_frame_s)

    def _go_to(self, place: int, expected_s: float) -> None:
        assert self._frame_s is not None, "a size was chosen before a frame was measured"
        self._before = (self._place, self._frame_s)
        self._place, self._frame_s = place, expected_s
        self._windows_since = 0
        self._overloaded_s = self._fitting_s = 0.0

    def _tell(self) -> list[OverloadChange]:
        assert self._frame_s is not None, "a size was chosen before a frame was measured"
        asking = {name for name in self._live if self._demands[name].rate_hz > 0}
        news = sorted(
            name for name in asking | self._told if self._told_place.get(name) != self._place
        )
        self._told |= set(news)
        self._told_place = dict.fromkeys(self._told, self._place)
        detail = (
            f"{self._policy}: tracked at {self.image_size} of {self._sizes[0]} pixels; "
            f"{self._figures(1 / self._frame_s)}"
        )
        return [OverloadChange(name, True, detail) for name in news]

    def _recover(self, capacity_hz: float) -> list[OverloadChange]:
        self._told_place.clear()
        return super()._recover(capacity_hz)

"""The overload policy: which streams are lowered to which rate, from when until when.

Plain Python without I/O or a clock: its input is one window of load after another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from streamer.inference.load.meter import Load
from streamer.inference.load.rate_shares import (
    Demand,
    OverloadPolicy,
    fitting_floor_hz,
    rate_shares,
)

# Lowered streams share this part of the device's capacity: the rest keeps latency low and even,
# and leaves time for the decoders.
USED_SHARE = 0.9
# Overload ends when all demands fit into this share; in between nothing changes.
RECOVERED_SHARE = 0.85
# A camera loses a frame now and then (two within one step): that alone is no overload.
LOST_SHARE = 0.05
# Weight of a new window in the moving averages.
_RATE_WEIGHT, _COST_WEIGHT = 0.5, 0.3


@dataclass(frozen=True, slots=True)
class OverloadChange:
    """A stream whose rate is lowered from now on, or restored."""

    stream_id: str
    is_lowered: bool
    detail: str


class Overload:
    """Watches the load, and lowers rates while it exceeds the device's capacity.

    Overload begins after ``begin_after_s`` of lost frames and demand above capacity, and ends after
    ``end_after_s`` of demand clearly below it: the margin between the two keeps a load at the
    limit from switching back and forth.

    Bound: two numbers per stream.
    """

    def __init__(
        self, policy: OverloadPolicy, floor_hz: float, begin_after_s: float, end_after_s: float
    ) -> None:
        """Every stream keeps ``floor_hz`` as far as capacity allows, or its own rate if lower."""
        self._policy = policy
        self._floor_hz = floor_hz
        self._begin_after_s = begin_after_s
        self._end_after_s = end_after_s
        self._active = False
        self._for_s = 0.0  # how long the load has contradicted ``_active``
        self._frame_s: float | None = None
        self._demands: dict[str, Demand] = {}
        self._live: frozenset[str] = frozenset()
        self._rates_hz: dict[str, float] = {}
        self._told: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether the device cannot keep up."""
        return self._active

    @property
    def frame_s(self) -> float | None:
        """The measured cost of a frame in seconds; None before the first one."""
        return self._frame_s

    @property
    def load_ratio(self) -> float:
        """Demand of live streams divided by the device's capacity; 1 is the limit."""
        return 0.0 if self._frame_s is None else self._wanted_hz * self._frame_s

    @property
    def rates_hz(self) -> Mapping[str, float]:
        """The rates of the streams to lower now."""
        return self._rates_hz if self.shapes else {}

    @property
    def shapes(self) -> bool:
        """Whether the policy lowers rates and limits batches, or only reports."""
        return self._policy in (OverloadPolicy.LOWER_RATE, OverloadPolicy.PRIORITY_FIRST)

    @property
    def floor_hz(self) -> float:
        """The lowest rate at which every stream is tracked."""
        if self._frame_s is None:
            return self._floor_hz
        return fitting_floor_hz(self._demands, USED_SHARE / self._frame_s, self._floor_hz)

    @property
    def image_size(self) -> int | None:
        """The image size to track at; None leaves it unchanged."""
        return None

    @property
    def lowered(self) -> frozenset[str]:
        """The streams that were reported as lowered."""
        return frozenset(self._told)

    def observe(self, load: Load) -> list[OverloadChange]:
        """Process a window; returns the changes by stream."""
        self._measure(load)
        if self._frame_s is None:
            return []
        capacity_hz = 1 / self._frame_s
        if self._active:
            turned = not self._exceeds(capacity_hz * RECOVERED_SHARE)
            needed_s = self._end_after_s
        else:
            turned = self._loses_frames(load) and self._exceeds(capacity_hz)
            needed_s = self._begin_after_s
        self._for_s = self._for_s + load.window_s if turned else 0.0
        if turned and self._for_s >= needed_s:
            self._active = not self._active
            self._for_s = 0.0
        return self._lower(capacity_hz) if self._active else self._recover(capacity_hz)

    def forget(self, stream_id: str) -> None:
        """Remove a stream; nothing more is reported about it."""
        self._told.discard(stream_id)
        self._demands.pop(stream_id, None)
        self._rates_hz.pop(stream_id, None)

    def _measure(self, load: Load) -> None:
        if load.tracked:
            frame_s = load.busy_s / load.tracked
            before = frame_s if self._frame_s is None else self._frame_s
            self._frame_s = max(before + self._cost_weight * (frame_s - before), 1e-6)
        demands = {}
        for stream_id, stream in load.streams.items():
            rate_hz = stream.offered / load.window_s
            if stream.lossless:
                rate_hz = math.inf if stream.offered else 0.0
            elif stream_id in self._demands and math.isfinite(self._demands[stream_id].rate_hz):
                before_hz = self._demands[stream_id].rate_hz
                rate_hz = before_hz + _RATE_WEIGHT * (rate_hz - before_hz)
            demands[stream_id] = Demand(rate_hz, stream.priority)
        self._demands = demands
        self._live = frozenset(name for name, each in load.streams.items() if not each.lossless)
        self._told &= demands.keys()

    @property
    def _cost_weight(self) -> float:
        """Weight of a window's cost per frame in its moving average."""
        return _COST_WEIGHT

    @property
    def _wanted_hz(self) -> float:
        return sum(self._demands[name].rate_hz for name in self._live if name in self._demands)

    def _shares(self, capacity_hz: float) -> dict[str, float]:
        return rate_shares(self._demands, capacity_hz, self._policy, self._floor_hz)

    def _exceeds(self, capacity_hz: float) -> bool:
        """Whether some live stream would get less than its demand."""
        shares = self._shares(capacity_hz)
        return any(shares[name] < self._demands[name].rate_hz * 0.999 for name in self._live)

    @staticmethod
    def _loses_frames(load: Load) -> bool:
        live = [stream for stream in load.streams.values() if not stream.lossless]
        offered = sum(stream.offered for stream in live)
        return sum(stream.tracked for stream in live) < (1 - LOST_SHARE) * offered

    def _lower(self, capacity_hz: float) -> list[OverloadChange]:
        shares = self._shares(capacity_hz * USED_SHARE)
        self._rates_hz = {
            name: share
            for name, share in shares.items()
            if 0 < share < self._demands[name].rate_hz * 0.99
        }
        news = self._rates_hz.keys() & self._live - self._told
        self._told |= news
        return [
            OverloadChange(
                name,
                True,
                f"{self._policy}: {self._rates_hz[name]:.1f} of {self._demands[name].rate_hz:.1f} "
                f"frames/s are tracked; {self._figures(capacity_hz)}",
            )
            for name in sorted(news)
        ]

    def _recover(self, capacity_hz: float) -> list[OverloadChange]:
        told, self._told = sorted(self._told), set()
        self._rates_hz = {}
        return [
            OverloadChange(name, False, f"recovered; {self._figures(capacity_hz)}") for name in told
        ]

    def _figures(self, capacity_hz: float) -> str:
        return (
            f"all streams ask for {self._wanted_hz:.0f} frames/s, this machine tracks "
            f"{capacity_hz:.0f} ({1000 / capacity_hz:.1f} ms a frame)"
        )

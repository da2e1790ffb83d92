"""Measures the inference thread's load: its busy time and its streams' frames per window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.runtime.clock import NANOSECONDS_PER_SECOND, ns_to_seconds

WINDOW_NS = NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """A stream's frames in a window: those put into its slot, and those tracked.

    A ``lossless`` stream waits for the tracker: its rate says nothing about its demand.
    """

    offered: int
    tracked: int
    priority: int = 0
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """The load within ``window_s``, of which the thread was busy for ``busy_s``."""

    window_s: float
    busy_s: float
    streams: Mapping[str, StreamLoad] = field(default_factory=dict)

    @property
    def tracked(self) -> int:
        """Tracked frames of all streams."""
        return sum(stream.tracked for stream in self.streams.values())


class LoadMeter:
    """Divides time into windows of a second or more. Used by the inference thread only.

    Bound: one number per stream, replaced with every window.
    """

    def __init__(self, now_ns: int) -> None:
        self._began_ns = now_ns
        self._rested_ns = 0
        self._tracked: dict[str, int] = {}
        self._offered_before: dict[str, int] = {}

    def rested(self, duration_ns: int) -> None:
        """Count time in which the thread was idle."""
        self._rested_ns += duration_ns

    def tracked(self, stream_id: str) -> None:
        """Count a frame given to the tracker, whatever the result."""
        self._tracked[stream_id] = self._tracked.get(stream_id, 0) + 1

    def forget(self, stream_id: str) -> None:
        """Remove a stream: a later one of its name counts from 0."""
        self._offered_before.pop(stream_id, None)
        self._tracked.pop(stream_id, None)

    def is_due(self, now_ns: int) -> bool:
        """Whether a window is over."""
        return now_ns - self._began_ns >= WINDOW_NS

    def window(
        self,
        now_ns: int,
        offered: Mapping[str, int],
        priorities: Mapping[str, int],
        lossless: frozenset[str],
    ) -> Load:
        """End the window and start the next one.

        ``offered``: for every stream, the frames put into its slot so far.
        """
        duration_ns = now_ns - self._began_ns
        load = Load(
            window_s=ns_to_seconds(duration_ns),
            busy_s=ns_to_seconds(max(duration_ns - self._rested_ns, 0)),
            streams={
                stream_id: StreamLoad(
                    offered=count - self._offered_before.get(stream_id, 0),
                    tracked=self._tracked.get(stream_id, 0),
                    priority=priorities.get(stream_id, 0),
                    lossless=stream_id in lossless,
                )
                for stream_id, count in offered.items()
            },
        )
        self._began_ns, self._rested_ns = now_ns, 0
        self._tracked.clear()
        self._offered_before = dict(offered)
        return load

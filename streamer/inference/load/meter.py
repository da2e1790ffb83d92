"""How busy the inference thread is: its time and its streams' frames, second by second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.runtime.clock import (
    NANOSECONDS_PER_SECOND,
    ns_to_seconds,
)

WINDOW_NS = NANOSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """A stream's part of a window: frames that came into its slot, and those that were tracked.

    A ``lossless`` stream waits for the tracker: what it offers says nothing of what it asks for.
    """

    offered: int
    tracked: int
    priority: int = 0
    lossless: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What happened within ``window_s``, ``busy_s`` of which the thread was at work."""

    window_s: float
    busy_s: float
    streams: Mapping[str, StreamLoad] = field(default_factory=dict)

    @property
    def tracked(self) -> int:
        """Frames of all streams that went through the tracker."""
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
        """The thread had nothing to do."""
        self._rested_ns += duration_ns

    def tracked(self, stream_id: str) -> None:
        """A frame was taken and went through the tracker, whatever came of it."""
        self._tracked[stream_id] = self._tracked.get(stream_id, 0) + 1

    def forget(self, stream_id: str) -> None:
        """A stream is gone: another of its name counts from 0."""
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
        """End the window and begin the next one.

        ``offered`` counts, for every stream that there is, the frames that its slot ever got.
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

"""The recent paths of a stream's objects, and where each was last seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from streamer.runtime.clock import seconds_to_ns
from streamer.types import FrameResult

Point = tuple[float, float]
Box = tuple[int, int, int, int]

POINTS_PER_TRAIL = 128


@dataclass(frozen=True, slots=True)
class Trail:
    """The path of one object in source pixels, oldest point first, and its last box (x0y0x1y1)."""

    points: tuple[Point, ...]
    last_box: Box


class Trails:
    """Remembers the centre of every object's box for ``duration_s``.

    Bound: live objects only, ``POINTS_PER_TRAIL`` points each, evenly spread over the duration;
    policy: the oldest point is dropped.
    """

    def __init__(self, duration_s: float) -> None:
        self._duration_ns = seconds_to_ns(duration_s)
        self._spacing_ns = self._duration_ns // POINTS_PER_TRAIL
        self._objects: dict[int, _Way] = {}
        self._size = (0, 0)

    def observe(self, result: FrameResult) -> None:
        """Update from a frame; trails of objects that are no longer tracked are forgotten."""
        picture = result.frame.picture
        size = (picture.pixels.width, picture.pixels.height)
        if size != self._size:  # another picture size: the old pixels mean nothing
            self._objects.clear()
            self._size = size
        now_ns = picture.arrival_monotonic_ns
        followed = {entry.track.object_id for entry in result.objects}
        for gone in self._objects.keys() - followed:
            del self._objects[gone]
        for entry in result.objects:
            track = entry.track
            way = self._objects.get(track.object_id)
            if track.area > 0:
                if way is None:
                    way = self._objects[track.object_id] = _Way()
                way.add(track.box_xyxy, now_ns, self._spacing_ns)
            if way is not None:
                way.forget_before(now_ns - self._duration_ns)

    def of_objects(self) -> dict[int, Trail]:
        """The trails, by object id."""
        return {object_id: way.trail() for object_id, way in self._objects.items()}


class _Way:
    def __init__(self) -> None:
        self._times_ns: deque[int] = deque(maxlen=POINTS_PER_TRAIL)
        self._points: deque[Point] = deque(maxlen=POINTS_PER_TRAIL)
        self._last_box: Box = (0, 0, 0, 0)

    def add(self, box: Box, now_ns: int, spacing_ns: int) -> None:
        x0, y0, x1, y1 = (int(side) for side in box)
        self._last_box = (x0, y0, x1, y1)
        if not self._times_ns or now_ns - self._times_ns[-1] >= spacing_ns:
            self._times_ns.append(now_ns)
            self._points.append(((x0 + x1) / 2, (y0 + y1) / 2))

    def forget_before(self, time_ns: int) -> None:
        while self._times_ns and self._times_ns[0] < time_ns:
            self._times_ns.popleft()
            self._points.popleft()

    def trail(self) -> Trail:
        return Trail(tuple(self._points), self._last_box)

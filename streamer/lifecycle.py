"""From the tracker's word on one frame to an object's life: added, hidden, back, lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamer.types import EventKind
from tracker.types import Track, TrackState


@dataclass(frozen=True, slots=True)
class LifecycleChange:
    """An object that changed, and how."""

    object_id: int
    kind: EventKind


@dataclass(slots=True)
class _Life:
    state: TrackState
    hidden_since_ns: int


class ObjectLifecycle:
    """The states of one stream's objects, and their changes from frame to frame.

    An occluded object is lost after ``occluded_to_lost_ns`` without being seen. The tracker
    still looks for it: it may be reacquired. Bound: one entry per live object.
    """

    def __init__(self, occluded_to_lost_ns: int) -> None:
        self._occluded_to_lost_ns = occluded_to_lost_ns
        self._lives: dict[int, _Life] = {}

    def observe(
        self, tracks: Sequence[Track], time_ns: int
    ) -> tuple[list[Track], list[LifecycleChange]]:
        """The tracks with ``lost`` filled in, and what changed since the frame before.

        ``time_ns`` is the frame's time by a clock of the caller's choice.
        """
        changes: list[LifecycleChange] = []
        judged = [self._judge(track, time_ns, changes) for track in tracks]
        return judged, changes

    def resume(self, time_ns: int) -> None:
        """The stream was away and is back: nothing could be seen, so time hidden starts anew."""
        for life in self._lives.values():
            life.hidden_since_ns = time_ns

    def forget(self, object_id: int) -> None:
        """The object was removed."""
        self._lives.pop(object_id, None)

    def _judge(self, track: Track, time_ns: int, changes: list[LifecycleChange]) -> Track:
        life = self._lives.get(track.object_id)
        if life is None:
            life = self._lives[track.object_id] = _Life(TrackState.VISIBLE, time_ns)
            changes.append(LifecycleChange(track.object_id, EventKind.ADDED))
        state, before = track.state, life.state
        if state is TrackState.VISIBLE:
            if before is not TrackState.VISIBLE:
                changes.append(LifecycleChange(track.object_id, EventKind.REACQUIRED))
        elif before is TrackState.VISIBLE:
            life.hidden_since_ns = time_ns
            changes.append(LifecycleChange(track.object_id, EventKind.OCCLUDED))
        else:
            life.hidden_since_ns = min(life.hidden_since_ns, time_ns)  # a clock that went back
            if (
                before is TrackState.LOST
                or time_ns - life.hidden_since_ns >= self._occluded_to_lost_ns
            ):
                state = TrackState.LOST
                if before is not TrackState.LOST:
                    changes.append(LifecycleChange(track.object_id, EventKind.LOST))
        life.state = state
        return track if state is track.state else replace(track, state=state)

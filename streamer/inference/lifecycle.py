"""The lifecycle of objects: added, occluded, reacquired, lost, removed.

State and events differ on purpose. An object's *state* describes one frame: ``visible`` exactly if
that frame has a mask of it. An *event* is published once a state has lasted as long as the rules
require, so that a flicker of a frame or two causes none.

Knows no stream, no clock and no configuration.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from streamer.types import EventKind
from tracker.types import Track, TrackState

# A box within this share of the frame's side counts as being at its edge.
EDGE_SHARE = 0.005
VISIBLE_SCORE = 0.5


class HiddenReason(StrEnum):
    """Why an object is not visible; the ``reason`` of ``occluded`` and ``lost``."""

    SCORE = "score"  # the model scores it as absent
    EMPTY_MASK = "empty_mask"  # the model scores it as present, but its mask is empty
    FULL_FRAME = "full_frame"  # the mask covers the frame: a failure mode of the model
    LEFT_PICTURE = "left_picture"  # it was last visible at the frame's edge
    SCENE_CUT = "scene_cut"  # the scene changed on this frame
    APPEARANCE = "appearance"  # the mask does not look like the object


LOST_TOO_LONG = "lost_too_long"  # the ``reason`` of ``removed``
PROMPTED = "prompted"  # the ``reason`` of ``reacquired``: by a prompt


@dataclass(frozen=True, slots=True)
class LifecycleRules:
    """When the events of an object are published.

    ``occluded`` after ``occluded_after_frames`` consecutive frames without the object that span
    ``occluded_after_ns``; ``reacquired`` likewise. ``lost`` after ``occluded_to_lost_ns`` without
    it, ``removed`` after ``lost_to_removed_ns`` more (None: never). A lost object is searched for
    on every ``lost_search_every``-th frame. A reappearing object must have a similarity of at
    least ``least_similarity`` (-1..1; None: any) to its prompted appearance. A mask of
    ``full_frame_share`` of the frame and more than twice the object's last area is discarded.
    """

    occluded_to_lost_ns: int
    occluded_after_frames: int = 1
    occluded_after_ns: int = 0
    reacquired_after_frames: int = 1
    reacquired_after_ns: int = 0
    lost_to_removed_ns: int | None = None
    lost_search_every: int = 1
    least_similarity: float | None = None
    full_frame_share: float = 0.95


@dataclass(frozen=True, slots=True)
class LifecycleChange:
    """A change of one object and its reason; ``absent_ns``: how long it had been out of sight."""

    object_id: int
    kind: EventKind
    reason: str | None = None
    absent_ns: int | None = None


@dataclass(slots=True)
class _Life:
    """``reported`` is the state of the last event; counts are of consecutive frames."""

    reported: TrackState = TrackState.VISIBLE
    seen_frames: int = 0
    seen_since_ns: int = 0
    unseen_frames: int = 0
    hidden_since_ns: int = 0
    reason: str = HiddenReason.SCORE
    area: int | None = None  # when it was last visible
    at_edge: bool = False
    searched: int = 0  # frames since it was lost


class ObjectLifecycle:
    """The states of one stream's objects, and their changes from frame to frame.

    Bound: one entry of a few numbers per live object.
    """

    def __init__(self, rules: LifecycleRules) -> None:
        self._rules = rules
        self._lives: dict[int, _Life] = {}

    def __len__(self) -> int:
        return len(self._lives)

    def observe(
        self,
        tracks: Sequence[Track],
        time_ns: int,
        *,
        prompted: Collection[int] = (),
        scene_cut: bool = False,
    ) -> tuple[list[Track], list[LifecycleChange]]:
        """The tracks to publish, and the changes.

        ``time_ns`` is the frame's time by a clock of the caller's choice. Masks of ``prompted``
        objects are never discarded. A track whose mask is discarded is returned without it; the
        track of an object to be removed is not returned, and the caller calls ``forget``.
        """
        judged: list[Track] = []
        changes: list[LifecycleChange] = []
        for track in tracks:
            life = self._lives.get(track.object_id)
            if life is None:
                life = self._lives[track.object_id] = _Life()
                changes.append(LifecycleChange(track.object_id, EventKind.ADDED))
            was_prompted = track.object_id in prompted
            doubt = None if was_prompted else self._doubt(track, life)
            shown = track if doubt is None else without_mask(track)
            if shown.state is TrackState.VISIBLE:
                change = self._seen(shown, life, time_ns, was_prompted)
            else:
                reason = doubt or _why_hidden(track, life, scene_cut)
                change = self._unseen(track.object_id, life, time_ns, reason)
                if was_prompted and change is not None and change.kind is EventKind.REMOVED:
                    change = None  # a prompted object gets at least one more frame
            if change is not None:
                changes.append(change)
                if change.kind is EventKind.REMOVED:
                    continue
            is_lost = shown.state is not TrackState.VISIBLE and life.reported is TrackState.LOST
            judged.append(replace(shown, state=TrackState.LOST) if is_lost else shown)
        return judged, changes

    def idle(self) -> frozenset[int]:
        """Lost objects to leave out of the next frame.

        They take turns: objects lost together are not all searched for on the same frame.
        """
        every = self._rules.lost_search_every
        return frozenset(
            object_id
            for object_id, life in self._lives.items()
            if life.reported is TrackState.LOST
            and life.seen_frames == 0
            and (life.searched + object_id) % every != 0
        )

    def resume(self, time_ns: int) -> None:
        """Restart the time out of sight: the stream was interrupted, and nothing was visible."""
        for life in self._lives.values():
            life.hidden_since_ns = life.seen_since_ns = time_ns

    def forget(self, object_id: int) -> None:
        """Discard a removed object."""
        self._lives.pop(object_id, None)

    def _doubt(self, track: Track, life: _Life) -> HiddenReason | None:
        """Why a mask is discarded; None to keep it, or if there is none."""
        if track.state is not TrackState.VISIBLE:
            return None
        frame_area = track.frame_height * track.frame_width
        if (
            life.area is not None
            and track.area >= self._rules.full_frame_share * frame_area
            and track.area > 2 * life.area
        ):
            return HiddenReason.FULL_FRAME
        least = self._rules.least_similarity
        if (
            least is not None
            and life.reported is not TrackState.VISIBLE
            and track.pointer_similarity is not None
            and track.pointer_similarity < least
        ):
            return HiddenReason.APPEARANCE
        return None

    def _seen(
        self, track: Track, life: _Life, time_ns: int, was_prompted: bool
    ) -> LifecycleChange | None:
        if life.seen_frames == 0:
            life.seen_since_ns = time_ns
        life.seen_since_ns = min(life.seen_since_ns, time_ns)  # the clock may go back
        life.seen_frames += 1
        life.unseen_frames = 0
        life.area = track.area
        life.at_edge = _at_edge(track)
        if life.reported is TrackState.VISIBLE:
            return None
        rules = self._rules
        held = (
            life.seen_frames >= rules.reacquired_after_frames
            and time_ns - life.seen_since_ns >= rules.reacquired_after_ns
        )
        if not held and not was_prompted:
            return None
        life.reported = TrackState.VISIBLE
        absent_ns = max(0, life.seen_since_ns - life.hidden_since_ns)
        reason = PROMPTED if was_prompted else None
        return LifecycleChange(track.object_id, EventKind.REACQUIRED, reason, absent_ns)

    def _unseen(
        self, object_id: int, life: _Life, time_ns: int, reason: str
    ) -> LifecycleChange | None:
        rules = self._rules
        life.seen_frames = 0
        if life.reported is TrackState.VISIBLE and life.unseen_frames == 0:
            life.hidden_since_ns, life.reason = time_ns, reason
        life.hidden_since_ns = min(life.hidden_since_ns, time_ns)  # the clock may go back
        life.unseen_frames += 1
        absent_ns = time_ns - life.hidden_since_ns
        match life.reported:
            case TrackState.VISIBLE:
                if (
                    life.unseen_frames >= rules.occluded_after_frames
                    and absent_ns >= rules.occluded_after_ns
                ):
                    life.reported = TrackState.OCCLUDED
                    return LifecycleChange(
                        object_id, EventKind.OCCLUDED, life.reason, absent_ns or None
                    )
            case TrackState.OCCLUDED:
                if absent_ns >= rules.occluded_to_lost_ns:
                    life.reported, life.searched = TrackState.LOST, 0
                    return LifecycleChange(object_id, EventKind.LOST, life.reason, absent_ns)
            case TrackState.LOST:
                life.searched += 1
                if (
                    rules.lost_to_removed_ns is not None
                    and absent_ns >= rules.occluded_to_lost_ns + rules.lost_to_removed_ns
                ):
                    return LifecycleChange(object_id, EventKind.REMOVED, LOST_TOO_LONG, absent_ns)
        return None


def without_mask(track: Track) -> Track:
    """The track of an object that is not visible."""
    return replace(
        track,
        state=TrackState.OCCLUDED,
        box_xyxy=(0, 0, 0, 0),
        crop=np.zeros((0, 0), dtype=np.bool_),
        area=0,
    )


def _why_hidden(track: Track, life: _Life, scene_cut: bool) -> HiddenReason:
    if scene_cut:
        return HiddenReason.SCENE_CUT
    if life.at_edge:
        return HiddenReason.LEFT_PICTURE
    in_picture = track.object_score > VISIBLE_SCORE
    return HiddenReason.EMPTY_MASK if in_picture else HiddenReason.SCORE


def _at_edge(track: Track) -> bool:
    x0, y0, x1, y1 = track.box_xyxy
    margin_x, margin_y = EDGE_SHARE * track.frame_width, EDGE_SHARE * track.frame_height
    return (
        x0 <= margin_x
        or y0 <= margin_y
        or x1 >= track.frame_width - margin_x
        or y1 >= track.frame_height - margin_y
    )

"""Corrects frames that were already tracked, and tracks the corrected objects up to the newest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tracker.memory.bank import MemoryBank
from tracker.memory.records import Before
from tracker.model import ImageFeatures
from tracker.policy.robust_bank import RobustBank
from tracker.sessions.history import TrackedFrame
from tracker.sessions.row import Row
from tracker.sessions.session import Session
from tracker.step.admission import admit_prompts, ensure_free, ensure_own
from tracker.step.frame_step import FrameStep
from tracker.step.rollback import allocated, unchanged_on_error
from tracker.types import Prompt, Track


class Correction(NamedTuple):
    """Tracks of the prompted objects on the corrected frame, and on the newest frame.

    Both lists are in the order of the prompts; they are equal if the newest was corrected.
    """

    tracks: list[Track]
    latest: list[Track]


class Corrector:
    """Implements ``Tracker.correct`` and ``Tracker.preview``, which document the semantics.

    ``sessions``: the tracker's open sessions, a live view.
    """

    def __init__(
        self, frame_step: FrameStep, bank: MemoryBank, sessions: Collection[Session]
    ) -> None:
        self._frame_step = frame_step
        self._bank = bank
        self._sessions = sessions

    def correct(
        self, session: Session, prompts: Sequence[Prompt], frame_index: int | None, anew: bool
    ) -> Correction:
        """Apply prompts to a frame of the history and track their objects from there."""
        rows = self._rows_at(session, prompts, frame_index, anew)
        if not rows:
            return Correction([], [])
        frame = rows[0].frame
        following = session.frames_after(frame.index)
        object_ids = [row.object_id for row in rows]
        try:
            with (
                unchanged_on_error(self._bank, session, object_ids, [frame, *following]),
                allocated([(session, object_id) for object_id in object_ids]),
            ):
                known = [self._states_after_starts(session, each, following) for each in object_ids]
                for object_id in object_ids:
                    self._rewind(session, object_id, frame)
                (tracks,) = self._frame_step.track(rows, self._features(session, frame))
                for later in following:
                    self._catch_up(session, object_ids, later)
                    self._restore_starts(session, object_ids, later, known)
                if not following:
                    return Correction(tracks, tracks)
                newest = following[-1].tracks
                return Correction(tracks, [newest[object_id] for object_id in object_ids])
        finally:
            session.count_history()

    def preview(
        self, session: Session, prompt: Prompt, frame_index: int | None, anew: bool
    ) -> Track:
        """The track ``correct`` would return for that frame; nothing is changed."""
        rows = self._rows_at(session, [prompt], frame_index, anew)
        features = self._features(session, rows[0].frame)
        with self._state_before(session, rows[0].object_id, rows[0].frame):
            (track,) = self._frame_step.preview(rows, features)
        return track

    def _rows_at(
        self, session: Session, prompts: Sequence[Prompt], frame_index: int | None, anew: bool
    ) -> list[Row]:
        """Rows for prompts on a frame of the history, added to earlier prompts unless ``anew``."""
        ensure_own(session, self._sessions)
        frame = session.frame(frame_index)
        size = self._frame_step.image_size
        found = () if anew else frame.logits
        prepared = admit_prompts(session, prompts, frame.height, frame.width, size, found)
        ensure_free(len(prepared.keys() - set(session.object_ids)), self._bank)
        return [
            Row(session, object_id, 0, frame, prompt)
            if anew
            else Row(
                session,
                object_id,
                0,
                frame,
                prompt.after(frame.clicks.get(object_id)),
                object_id in frame.logits,
            )
            for object_id, prompt in prepared.items()
        ]

    def _rewind(self, session: Session, object_id: int, frame: TrackedFrame) -> None:
        """Return an object to its state before that frame, as far as that is kept."""
        slot = session.slot_of(object_id)
        self._bank.forget_recent_after(slot, frame.time)
        if isinstance(self._bank, RobustBank):
            self._bank.restore_state(slot, frame.before.get(object_id))

    @contextmanager
    def _state_before(
        self, session: Session, object_id: int, frame: TrackedFrame
    ) -> Iterator[None]:
        """Temporarily restore an object's facts and motion from before that frame."""
        if not isinstance(self._bank, RobustBank) or object_id not in session.object_ids:
            yield
            return
        slot = session.slot_of(object_id)
        now = self._bank.state(slot)
        self._bank.restore_state(slot, frame.before.get(object_id))
        try:
            yield
        finally:
            self._bank.restore_state(slot, now)

    def _states_after_starts(
        self, session: Session, object_id: int, frames: Sequence[TrackedFrame]
    ) -> dict[int, Before]:
        """An object's state after each of these frames on which it was started."""
        if not isinstance(self._bank, RobustBank):
            return {}
        known = {}
        after = self._bank.state(session.slot_of(object_id))
        for frame in reversed(frames):
            if object_id in frame.unconditioned:
                known[frame.index] = after
            after = frame.before.get(object_id, after)
        return known

    def _restore_starts(
        self,
        session: Session,
        object_ids: Sequence[int],
        frame: TrackedFrame,
        known: Sequence[dict[int, Before]],
    ) -> None:
        """Restore the state after this frame for objects that were started on it."""
        if isinstance(self._bank, RobustBank):
            for object_id, after in zip(object_ids, known, strict=True):
                if frame.index in after:
                    self._bank.restore_state(session.slot_of(object_id), after[frame.index])

    def _catch_up(self, session: Session, object_ids: Sequence[int], frame: TrackedFrame) -> None:
        """Track some objects on an earlier frame again, with their current memories.

        An object that was started on this frame was decided without memory: its mask stays.
        """
        rows = [
            Row(session, each, 0, frame, frame.clicks.get(each), each in frame.clicks)
            for each in object_ids
            if each not in frame.unconditioned
        ]
        if rows:
            self._frame_step.track(rows, self._features(session, frame))

    def encoded(
        self, session: Session, frame_index: int | None
    ) -> tuple[ImageFeatures, tuple[int, int]]:
        """The features of a frame of the history, and its height and width."""
        ensure_own(session, self._sessions)
        frame = session.frame(frame_index)
        features = self._features(session, frame)
        session.count_history()
        return features, (frame.height, frame.width)

    def _features(self, session: Session, frame: TrackedFrame) -> ImageFeatures:
        if frame.features is not None:
            return frame.features
        features = self._frame_step.encode_late(frame, session.frame_before(frame.index))
        session.encoded(frame, features)
        return features

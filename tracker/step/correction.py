"""Prompts on frames that were tracked already: what they give, and how the objects catch up."""

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
from tracker.step.admission import (
    admit_prompts,
    ensure_free,
    ensure_own,
)
from tracker.step.frame_step import FrameStep
from tracker.step.rollback import allocated, unchanged_on_error
from tracker.types import Prompt, Track


class Correction(NamedTuple):
    """The prompted objects on the corrected frame, and on the newest frame after it.

    Both lists are in the order of the prompts; they are equal if the newest was corrected.
    """

    tracks: list[Track]
    latest: list[Track]


class Corrector:
    """Carries out ``Tracker.correct`` and ``Tracker.preview``, which say what they mean.

    ``sessions``: those the tracker has open now; the tracker adds to them and takes away.
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
        """Apply prompts to a frame of the history and track their objects on from there."""
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
                known = [self._known_after(session, each, following) for each in object_ids]
                for object_id in object_ids:
                    self._go_back(session, object_id, frame)
                (tracks,) = self._frame_step.track(rows, self._features(session, frame))
                for later in following:
                    self._catch_up(session, object_ids, later)
                    self._know_again(session, object_ids, later, known)
                if not following:
                    return Correction(tracks, tracks)
                newest = following[-1].tracks
                return Correction(tracks, [newest[object_id] for object_id in object_ids])
        finally:
            session.count_history()

    def preview(
        self, session: Session, prompt: Prompt, frame_index: int | None, anew: bool
    ) -> Track:
        """What ``correct`` would find on that frame; nothing is changed."""
        rows = self._rows_at(session, [prompt], frame_index, anew)
        features = self._features(session, rows[0].frame)
        with self._known_then(session, rows[0].object_id, rows[0].frame):
            (track,) = self._frame_step.preview(rows, features)
        return track

    def _rows_at(
        self, session: Session, prompts: Sequence[Prompt], frame_index: int | None, anew: bool
    ) -> list[Row]:
        """Prompts on a frame of the history, added to what was clicked there unless ``anew``."""
        ensure_own(session, self._sessions)
        frame = session.frame(frame_index)
        size = self._frame_step.image_size
        prepared = admit_prompts(session, prompts, frame.height, frame.width, size)
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

    def _go_back(self, session: Session, object_id: int, frame: TrackedFrame) -> None:
        """Let an object remember and know what it did before that frame, as far as it is kept."""
        slot = session.slot_of(object_id)
        self._bank.forget_recent_after(slot, frame.time)
        if isinstance(self._bank, RobustBank):
            self._bank.know(slot, frame.before.get(object_id))

    @contextmanager
    def _known_then(self, session: Session, object_id: int, frame: TrackedFrame) -> Iterator[None]:
        """Let be known of an object what was known before that frame, for the moment."""
        if not isinstance(self._bank, RobustBank) or object_id not in session.object_ids:
            yield
            return
        slot = session.slot_of(object_id)
        now = self._bank.known(slot)
        self._bank.know(slot, frame.before.get(object_id))
        try:
            yield
        finally:
            self._bank.know(slot, now)

    def _known_after(
        self, session: Session, object_id: int, frames: Sequence[TrackedFrame]
    ) -> dict[int, Before]:
        """What is known of an object after those of these frames on which it was started."""
        if not isinstance(self._bank, RobustBank):
            return {}
        known = {}
        after = self._bank.known(session.slot_of(object_id))
        for frame in reversed(frames):
            if object_id in frame.unconditioned:
                known[frame.index] = after
            after = frame.before.get(object_id, after)
        return known

    def _know_again(
        self,
        session: Session,
        object_ids: Sequence[int],
        frame: TrackedFrame,
        known: Sequence[dict[int, Before]],
    ) -> None:
        """Let objects that were started on this frame be known as they were after it."""
        if isinstance(self._bank, RobustBank):
            for object_id, after in zip(object_ids, known, strict=True):
                if frame.index in after:
                    self._bank.know(session.slot_of(object_id), after[frame.index])

    def _catch_up(self, session: Session, object_ids: Sequence[int], frame: TrackedFrame) -> None:
        """Track some objects on an earlier frame once more, with what they remember now.

        Where an object was started on this frame, nothing that it remembers decided it: it stays.
        """
        rows = [
            Row(session, each, 0, frame, frame.clicks.get(each), each in frame.clicks)
            for each in object_ids
            if each not in frame.unconditioned
        ]
        if rows:
            self._frame_step.track(rows, self._features(session, frame))

    def _features(self, session: Session, frame: TrackedFrame) -> ImageFeatures:
        if frame.features is not None:
            return frame.features
        features = self._frame_step.encode_late(frame, session.frame_before(frame.index))
        session.encoded(frame, features)
        return features

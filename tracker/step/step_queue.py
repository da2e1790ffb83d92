"""Submits the steps of a tracker to the device one after the other; the host reads them later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from tracker.engine.out_of_memory import is_out_of_memory
from tracker.errors import SessionError
from tracker.memory.bank import MemoryBank
from tracker.sessions.history import TrackedFrame
from tracker.sessions.session import Session
from tracker.step.admission import StepInput, admit
from tracker.step.frame_step import FrameStep
from tracker.step.pending_step import NewFrame, PendingStep
from tracker.step.rollback import allocated


class StepQueue:
    """Implements ``Tracker.submit``, which documents the semantics.

    Bound: at most one step is in flight when another is submitted; older uncollected ones are
    finished first. ``sessions``: the tracker's open sessions, a live view.
    """

    def __init__(
        self,
        frame_step: FrameStep,
        bank: MemoryBank,
        sessions: Collection[Session],
        make_room: Callable[[BaseException], None],
    ) -> None:
        """``make_room``: called with a lack of memory that a step failed for."""
        self._frame_step = frame_step
        self._bank = bank
        self._sessions = sessions
        self._make_room = make_room
        self._in_flight: deque[PendingStep] = deque()

    def finish(self) -> None:
        """Finish all steps in flight; an error is stored for the step's own ``collect``."""
        for step in tuple(self._in_flight):
            step.finish()

    def submit(self, batch: Sequence[StepInput]) -> PendingStep:
        """Begin a step behind the one in flight."""
        while len(self._in_flight) > 1:
            self._in_flight.popleft().finish()
        prepared = admit(
            batch,
            self._sessions,
            self._bank,
            self._frame_step.image_size,
            self._frame_step.image_sizes,
        )
        # Without waiting for the step in flight: at worst one image too many is encoded.
        needed = [
            place
            for place, ((session, _, _), prompts) in enumerate(zip(batch, prepared, strict=True))
            if prompts or session.due(prompts)
        ]
        if needed:
            # First, because the host may have to wait for the step in flight: this keeps the
            # device busy meanwhile.
            pixels_B3SS = self._frame_step.pixels_of([batch[place][1] for place in needed])
            features = self._frame_step.encode(pixels_B3SS)
        if self._in_flight:
            self._frame_step.run()
            self._settle(self._in_flight[-1])
        frames = [
            TrackedFrame.of(
                session.frames_seen,
                session.now,
                image,
                keeps_image=self._frame_step.looks_closer,
            )
            for session, image, _ in batch
        ]
        live = [set(session.object_ids) for session, _, _ in batch]
        left_out = [session.left_out for session, _, _ in batch]
        with allocated(
            [
                (session, object_id)
                for (session, _, _), prompts in zip(batch, prepared, strict=True)
                for object_id in prompts
            ]
        ):
            rows = [
                self._frame_step.row(
                    batch[place][0],
                    object_id,
                    image,
                    frames[place],
                    prepared[place].get(object_id),
                    object_id in live[place],
                )
                for image, place in enumerate(needed)
                for object_id in batch[place][0].due(prepared[place])
            ]
            decided = None
            if needed:
                encoded = [frames[place] for place in needed]
                before = [batch[place][0].last_frame for place in needed]
                found = self._frame_step.compare_frames(pixels_B3SS, before)
                scene_B3 = None if found is None else found.scene_B3
            if rows:
                decided = self._frame_step.decide(rows, features, scene_B3)
            if needed:
                self._frame_step.keep_encoded(encoded, features, found)
        step = PendingStep(
            self._frame_step,
            [
                NewFrame(session, frame, out, [each for each in prompts if each not in known])
                for (session, _, _), frame, out, prompts, known in zip(
                    batch, frames, left_out, prepared, live, strict=True
                )
            ],
            decided,
            self._collected,
        )
        self._in_flight.append(step)
        return step

    def _settle(self, before: PendingStep) -> None:
        before.settle()
        if before.error is not None:
            self._forget(before)  # its error is reported here
            raise SessionError(
                "the step submitted before this one has failed; collect it, which says why, and "
                "submit this one again"
            ) from before.error

    def _collected(self, step: PendingStep) -> None:
        self._forget(step)
        if step.error is not None and is_out_of_memory(step.error):
            self._make_room(step.error)

    def _forget(self, step: PendingStep) -> None:
        if step in self._in_flight:
            self._in_flight.remove(step)

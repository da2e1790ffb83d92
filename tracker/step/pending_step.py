"""A step between two moments: the device was given all its work, the host has not read it yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tracker.errors import SessionError
from tracker.sessions.history import TrackedFrame
from tracker.sessions.row import Row
from tracker.sessions.session import Session
from tracker.step.decided_rows import DecidedRows
from tracker.step.frame_step import FrameStep
from tracker.step.results import Delivery
from tracker.types import StepFacts, Track


@dataclass(frozen=True, slots=True)
class NewFrame:
    """One stream's part of a step.

    ``left_out``: the objects that it was not searched for, as the session had them. ``added``:
    objects that were new with it.
    """

    session: Session
    frame: TrackedFrame
    left_out: set[int]
    added: list[int]


class PendingStep:
    """What ``Tracker.submit`` began; ``collect`` ends it.

    In between the sessions are as they were before it, but for the new objects, which have their
    slots: nothing is kept before ``settle``, so that a step that fails leaves no trace. Whoever
    needs a session after this step (the next step, a removal, an export, the session's end)
    settles it first.
    """

    def __init__(
        self,
        frame_step: FrameStep,
        frames: Sequence[NewFrame],
        decided: DecidedRows | None,
        on_told: Callable[[PendingStep], None],
    ) -> None:
        """``decided``: the rows of all frames, if there are any. ``on_told``: it was collected."""
        self._frame_step = frame_step
        self._frames = list(frames)
        self._decided = decided
        self._delivery: Delivery | None = None if decided is None else decided.delivery
        self._rows: list[list[Row]] = [] if decided is None else decided.by_frame
        self._on_told = on_told
        self._tracks: list[list[Track]] | None = None
        self._error: BaseException | None = None
        self._settled = False
        for new in self._frames:
            new.session.begin(self.settle)

    @property
    def frame_indexes(self) -> list[int]:
        """The sessions' own numbers of the frames, in batch order."""
        return [new.frame.index for new in self._frames]

    @property
    def facts(self) -> list[StepFacts]:
        """What was found out about each picture as a whole, in batch order; once collected."""
        return [new.frame.facts for new in self._frames]

    @property
    def error(self) -> BaseException | None:
        """Why it came to nothing, as far as is known."""
        return self._error

    def collect(self) -> list[list[Track]]:
        """Tracks per stream, in batch order; here the host waits for the device.

        The same again when called again. What it raises has changed nothing, and the frames may
        be given again; ``torch.AcceleratorError`` is the device's end.
        """
        self.finish()
        self._on_told(self)
        if self._error is not None:
            raise self._error
        assert self._tracks is not None, "a step ends in tracks or in an error"
        return self._tracks

    @torch.inference_mode()
    def finish(self) -> None:
        """What ``collect`` does, but that a failure is left for it to tell."""
        if self._tracks is not None or self._error is not None:
            return
        try:
            tracks = [] if self._delivery is None else self._delivery.tracks()
            self._keep()
        except BaseException as error:
            self._come_to_nothing(error)
            return
        by_frame = {id(own[0].frame): found for own, found in zip(self._rows, tracks, strict=True)}
        self._tracks = [by_frame.get(id(new.frame), []) for new in self._frames]
        for new, found in zip(self._frames, self._tracks, strict=True):
            if new.session.last_frame is new.frame:  # of older frames they are not kept
                new.frame.tracks = {track.object_id: track for track in found}
        self._let_go()

    @torch.inference_mode()
    def settle(self) -> None:
        """Keep what came of it, if that was not done; a failure is left for ``collect`` to tell.

        The host waits for the device only where the memory policy chooses by what came of it.
        """
        if self._settled:
            return
        try:
            self._keep()
        except BaseException as error:
            self._come_to_nothing(error)

    def withdraw(self) -> None:
        """Give it up: as far as nothing was kept of it yet, nothing is. The device is not asked."""
        if not self._settled:
            self._come_to_nothing(SessionError("the step was withdrawn"))

    def _keep(self) -> None:
        if self._settled:
            return
        self._end_waiting()  # what is done with the sessions from here on is this step's own
        if self._decided is not None:
            self._frame_step.keep(self._decided)
        self._settled = True
        self._decided = None
        for new in self._frames:
            new.session.remember(new.frame, new.left_out)

    def _come_to_nothing(self, error: BaseException) -> None:
        self._error = error
        if not self._settled:
            self._settled = True
            self._end_waiting()
            for new in self._frames:
                for object_id in new.added:
                    new.session.remove(object_id)
        self._let_go()
        if isinstance(error, torch.AcceleratorError) or not isinstance(error, Exception):
            raise error

    def _end_waiting(self) -> None:
        for new in self._frames:
            new.session.begin(None)

    def _let_go(self) -> None:
        """Keep no memory of the device."""
        self._decided = self._delivery = None
        self._rows = []

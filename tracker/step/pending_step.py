"""A submitted step: the device has all its work, the host has not read the results yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tracker.engine.out_of_memory import is_device_lost
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

    ``left_out``: the session's set of objects that were skipped. ``added``: the new objects.
    """

    session: Session
    frame: TrackedFrame
    left_out: set[int]
    added: list[int]


class PendingStep:
    """A step begun by ``Tracker.submit``; ``collect`` ends it.

    Until ``settle`` keeps its results the sessions show the state before it, except for new
    objects, which have their slots: a step that fails changes nothing. Operations that need the
    state after this step (the next step, a removal, an export, closing) settle it first.
    """

    def __init__(
        self,
        frame_step: FrameStep,
        frames: Sequence[NewFrame],
        decided: DecidedRows | None,
        on_collected: Callable[[PendingStep], None],
    ) -> None:
        """``decided``: the rows of all frames, if any. ``on_collected``: called by ``collect``."""
        self._frame_step = frame_step
        self._frames = list(frames)
        self._decided = decided
        self._delivery: Delivery | None = None if decided is None else decided.delivery
        self._rows: list[list[Row]] = [] if decided is None else decided.by_frame
        self._on_collected = on_collected
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
        """Findings about each whole picture, in batch order; valid once collected."""
        return [new.frame.facts for new in self._frames]

    @property
    def error(self) -> BaseException | None:
        """The error that it failed with, if it is known to have failed."""
        return self._error

    def collect(self) -> list[list[Track]]:
        """Wait for the device and return the tracks per stream, in batch order.

        Further calls return the same. A step that raises has changed nothing, and its frames may
        be submitted again: after a lack of memory in smaller batches or images; after any other
        ``torch.AcceleratorError`` the device is unusable.
        """
        self.finish()
        self._on_collected(self)
        if self._error is not None:
            raise self._error
        assert self._tracks is not None, "a step ends in tracks or in an error"
        return self._tracks

    @torch.inference_mode()
    def finish(self) -> None:
        """Like ``collect``, but an error is stored for ``collect`` to raise."""
        if self._tracks is not None or self._error is not None:
            return
        try:
            tracks = [] if self._delivery is None else self._delivery.tracks()
            self._keep()
        except BaseException as error:
            self._fail(error)
            return
        by_frame = {id(own[0].frame): found for own, found in zip(self._rows, tracks, strict=True)}
        self._tracks = [by_frame.get(id(new.frame), []) for new in self._frames]
        for new, found in zip(self._frames, self._tracks, strict=True):
            if new.session.last_frame is new.frame:  # older frames keep no tracks
                new.frame.tracks = {track.object_id: track for track in found}
        self._release()

    @torch.inference_mode()
    def settle(self) -> None:
        """Keep the results, if that was not done; an error is stored for ``collect`` to raise.

        The host waits for the device only if the memory policy needs numbers from it.
        """
        if self._settled:
            return
        try:
            self._keep()
        except BaseException as error:
            self._fail(error)

    def withdraw(self) -> None:
        """Cancel the step unless its results were kept already; never waits for the device."""
        if not self._settled:
            self._fail(SessionError("the step was withdrawn"))

    def _keep(self) -> None:
        if self._settled:
            return
        self._deregister()  # from here on this step itself changes the sessions
        if self._decided is not None:
            self._frame_step.keep(self._decided)
        self._settled = True
        self._decided = None
        for new in self._frames:
            new.session.remember(new.frame, new.left_out)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        if not self._settled:
            self._settled = True
            self._deregister()
            for new in self._frames:
                for object_id in new.added:
                    new.session.remove(object_id)
        self._release()
        if is_device_lost(error) or not isinstance(error, Exception):
            raise error

    def _deregister(self) -> None:
        for new in self._frames:
            new.session.begin(None)

    def _release(self) -> None:
        """Release device memory."""
        self._decided = self._delivery = None
        self._rows = []

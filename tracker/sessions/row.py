"""One row of a batch: one object on one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracker.memory.places import IntArray
from tracker.sessions.history import TrackedFrame
from tracker.sessions.prompts import PreparedPrompt
from tracker.sessions.session import Session


@dataclass(frozen=True, slots=True)
class Row:
    """One object on one frame of this batch.

    ``image``: index of the frame's image in the batch. ``corrects``: the prompt adds to the mask
    tracked on this frame; with ``tracked_first`` that mask is decoded in the same pass, because
    the frame is new.
    """

    session: Session
    object_id: int
    image: int
    frame: TrackedFrame
    prompt: PreparedPrompt | None = None
    corrects: bool = False
    tracked_first: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """The object's slot in the bank and the frame's time."""
        return self.session.slot_of(self.object_id), self.frame.time


def places_of(rows: Sequence[Row]) -> tuple[IntArray, IntArray]:
    """The bank slot of each row and the time of its frame."""
    slot_N, time_N = np.array([row.place for row in rows], dtype=np.int64).T.copy()
    return slot_N, time_N


def images_of(rows: Sequence[Row]) -> IntArray:
    """The index of each row's image in the batch."""
    return np.array([row.image for row in rows], dtype=np.int64)

"""What a correction of an earlier frame gives, and its undoing when it fails half-way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tracker.history import TrackedFrame
from tracker.memory_bank import MemoryBank
from tracker.session import Session
from tracker.types import Track


class Correction(NamedTuple):
    """The prompted objects on the corrected frame, and on the newest frame after it.

    Both lists are in the order of the prompts; they are equal if the newest was corrected.
    """

    tracks: list[Track]
    latest: list[Track]


@contextmanager
def unchanged_on_error(
    bank: MemoryBank, session: Session, object_ids: Collection[int], frames: Sequence[TrackedFrame]
) -> Iterator[None]:
    """Give objects their memories and these frames their masks back if what follows fails.

    Costs a copy of each object's slot, and no more: use it where prompts are, not in a step.
    """
    slots = {each: session.slot_of(each) for each in object_ids if each in session.object_ids}
    memories = {slot: bank.copy(slot) for slot in slots.values()}
    copies = [frame.copy() for frame in frames]
    try:
        yield
    except BaseException:
        for slot, memory in memories.items():
            bank.restore(slot, memory)
        for frame, copy in zip(frames, copies, strict=True):
            frame.restore_objects(copy)
        raise

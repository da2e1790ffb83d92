"""Takes back what a step or a correction has changed when it fails half-way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from tracker.memory.bank import MemoryBank
from tracker.sessions.history import TrackedFrame
from tracker.sessions.session import Session


@contextmanager
def allocated(wanted: Sequence[tuple[Session, int]]) -> Iterator[None]:
    """Give objects that are new a slot, and take it back if what follows fails."""
    new: list[tuple[Session, int]] = []
    try:
        for session, object_id in wanted:
            if object_id not in session.object_ids:
                session.add(object_id)
                new.append((session, object_id))
        yield
    except BaseException:
        for session, object_id in new:
            session.remove(object_id)
        raise


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

"""Undoes the changes of a step or a correction that fails half-way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from tracker.memory.bank import MemoryBank
from tracker.sessions.history import TrackedFrame
from tracker.sessions.session import Session


@contextmanager
def allocated(wanted: Sequence[tuple[Session, int]]) -> Iterator[None]:
    """Allocate slots for new objects; release them if the block raises."""
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
    """Restore the objects' memories and these frames' masks if the block raises.

    Costs a copy of each object's slot: for corrections, not for every step.
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

"""The ways in which a row is decided."""

from __future__ import annotations

from typing import NamedTuple

from tracker.sessions.row import Row


class Kind(NamedTuple):
    """How a row is decided.

    ``remembers``: from the object's memories. ``previous``: the prompt comes with the mask that the
    frame has already.
    """

    name: str
    remembers: bool = False
    previous: bool = False


TRACKED = Kind("tracked", remembers=True)
MASK = Kind("mask")
CLICKED = Kind("clicked")
TRACKED_FIRST = Kind("tracked first", remembers=True)
REFINED = Kind("refined", previous=True)
CORRECTED = Kind("corrected", remembers=True, previous=True)


def kind_of(row: Row) -> Kind:
    """How a row is decided."""
    if row.prompt is None:
        return TRACKED
    if row.prompt.mask_1SS is not None:
        return MASK
    if not row.corrects:
        return CLICKED
    if row.tracked_first:
        return TRACKED_FIRST
    return REFINED if row.object_id in row.frame.unconditioned else CORRECTED

"""The state of a stream's starter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DetectorStatus(StrEnum):
    """The status of a starter's detector; its values are part of the API."""

    WAITING = "waiting"  # for the first pass
    LOOKING = "looking"
    STANDING_STILL = "standing_still"  # ``DetectorNotReady``
    FAILING = "failing"  # it raised, and is tried again
    STUCK = "stuck"  # it does not return


@dataclass(frozen=True, slots=True)
class StarterState:
    """The state of a stream's starter; it counts from its begin."""

    kind: str
    status: DetectorStatus
    reason: str | None
    passes: int
    started: int
    found: int
    object_ids: tuple[int, ...]

"""Things that must not be started: removed by a user, or not held by the tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamer.starters.candidates import Candidate, pair
from streamer.types import Box, Detection

# Bound; policy: the thing that has been unseen for longest is forgotten.
MAXIMUM_THINGS = 64


@dataclass(frozen=True, slots=True)
class _Entry:
    thing: Candidate
    seen_ns: int
    forget_after_ns: int


class LeftAlone:
    """Recognises these things from pass to pass, until they were unseen for a while.

    A removed player keeps moving: each detection updates where the next one is expected.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, box_xyxy: Box, label: str | None, now_ns: int, for_ns: int) -> None:
        """Leave the thing in this box alone until it was unseen for ``for_ns``."""
        self._entries.append(_Entry(Candidate(box_xyxy, label), now_ns, for_ns))
        if len(self._entries) > MAXIMUM_THINGS:
            self._entries.remove(min(self._entries, key=lambda each: each.seen_ns))

    def rescale(self, across: float, down: float) -> None:
        """Convert all boxes to the new size of the pictures."""
        self._entries = [
            replace(each, thing=each.thing.rescaled(across, down)) for each in self._entries
        ]

    def among(self, detections: Sequence[Detection], now_ns: int) -> set[int]:
        """The indices of the detections that must not be started."""
        self._entries = [
            each for each in self._entries if now_ns - each.seen_ns <= each.forget_after_ns
        ]
        paired = pair([each.thing for each in self._entries], detections)
        for row, column in paired.items():
            entry = self._entries[column]
            self._entries[column] = _Entry(
                entry.thing.seen_again(detections[row]), now_ns, entry.forget_after_ns
            )
        return set(paired)

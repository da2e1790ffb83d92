"""Things that must not be started: what somebody removed, and what the tracker could not hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streamer.starters.candidates import Sighting, pair
from streamer.starters.detection import Box, Detection

# Bound: so many things; policy: the one out of sight for longest is forgotten.
LEFT_ALONE = 64


@dataclass(frozen=True, slots=True)
class _Entry:
    sighting: Sighting
    seen_ns: int
    forget_after_ns: int


class LeftAlone:
    """Follows by its detections what must not be started, until it was out of sight for a while.

    A removed player goes on playing: where he is detected he is known again, and so on.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, box_xyxy: Box, label: str | None, now_ns: int, for_ns: int) -> None:
        """Leave the thing that is here alone until it was not seen ``for_ns``."""
        self._entries.append(_Entry(Sighting(box_xyxy, label), now_ns, for_ns))
        if len(self._entries) > LEFT_ALONE:
            self._entries.remove(min(self._entries, key=lambda each: each.seen_ns))

    def rescale(self, across: float, down: float) -> None:
        """Pictures have another size now."""
        self._entries = [
            replace(each, sighting=each.sighting.rescaled(across, down)) for each in self._entries
        ]

    def among(self, detections: Sequence[Detection], now_ns: int) -> set[int]:
        """The indexes of the detections that must not be started."""
        self._entries = [
            each for each in self._entries if now_ns - each.seen_ns <= each.forget_after_ns
        ]
        paired = pair([each.sighting for each in self._entries], detections)
        for row, column in paired.items():
            entry = self._entries[column]
            self._entries[column] = _Entry(
                entry.sighting.seen_again(detections[row]), now_ns, entry.forget_after_ns
            )
        return set(paired)

"""Two objects that turned out to be one thing: the younger is removed if a starter started it.

A lost object may reappear just as a detection of it is started as a new object.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from streamer.starters.geometry import boxes_of, ious
from streamer.starters.matching import VisibleObject

TWIN_IOU = 0.7
# Consecutive passes: two players who cross overlap for a fraction of a second only.
TWIN_PASSES = 5


class Twins:
    """Counts in how many consecutive passes two objects overlapped. Bound: pairs of one frame."""

    def __init__(self) -> None:
        self._passes: dict[tuple[int, int], int] = {}

    def observe(self, seen: Sequence[VisibleObject], removable: Collection[int]) -> tuple[int, ...]:
        """Update from a frame's objects -> those of ``removable`` that duplicate another."""
        boxes = boxes_of([each.box_xyxy for each in seen])
        rows, columns = np.nonzero(np.triu(ious(boxes, boxes) >= TWIN_IOU, 1))
        together = {
            (min(pair), max(pair))
            for row, column in zip(rows, columns, strict=True)
            for pair in [(seen[int(row)].object_id, seen[int(column)].object_id)]
        }
        self._passes = {pair: self._passes.get(pair, 0) + 1 for pair in together}
        found: set[int] = set()
        for (older, younger), passes in sorted(self._passes.items()):
            if passes < TWIN_PASSES or {older, younger} & found:
                continue
            if younger in removable:
                found.add(younger)
            elif older in removable:
                found.add(older)
        return tuple(sorted(found))

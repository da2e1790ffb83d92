"""Two objects that turned out to be one thing: the younger goes, if a starter started it.

A lost object may come back in the moment in which a detection of it is started.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from streamer.starters.geometry import boxes_of, ious
from streamer.starters.matching import Seen

TWIN_IOU = 0.7
# Looks in a row: players cross within a fraction of a second, and go on as two.
TWIN_LOOKS = 5


class Twins:
    """How often in a row two objects were at one place. Bound: pairs of one frame's objects."""

    def __init__(self) -> None:
        self._looks: dict[tuple[int, int], int] = {}

    def observe(self, seen: Sequence[Seen], removable: Collection[int]) -> tuple[int, ...]:
        """Take in a frame's objects -> those of ``removable`` that are another one as well."""
        boxes = boxes_of([each.box_xyxy for each in seen])
        rows, columns = np.nonzero(np.triu(ious(boxes, boxes) >= TWIN_IOU, 1))
        together = {
            (min(pair), max(pair))
            for row, column in zip(rows, columns, strict=True)
            for pair in [(seen[int(row)].object_id, seen[int(column)].object_id)]
        }
        self._looks = {pair: self._looks.get(pair, 0) + 1 for pair in together}
        found: set[int] = set()
        for (older, younger), looks in sorted(self._looks.items()):
            if looks < TWIN_LOOKS or {older, younger} & found:
                continue
            if younger in removable:
                found.add(younger)
            elif older in removable:
                found.add(older)
        return tuple(sorted(found))

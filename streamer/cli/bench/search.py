"""Which combinations of streams and objects to measure, until the limit of a machine is known.

Plain Python: the next measurement depends only on the results so far, so an interrupted search
resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A number of streams, and of objects on each."""

    objects: int
    streams: int


class FrontierSearch:
    """Finds how many streams a machine carries, for each number of objects per stream.

    More streams or more objects are never easier: where one cell is not carried, none with as many
    or more of both is, and the other way round. For each number of objects the number of streams
    is doubled until one fails and then halved in, between the bounds that are known already.
    """

    def __init__(self, objects: Sequence[int], most_streams: int, most_objects_in_all: int) -> None:
        """``objects`` are the numbers a stream that are tried; a cell has at most
        ``most_streams`` streams and ``most_objects_in_all`` objects on all of them.
        """
        self.objects = sorted(set(objects))
        self._most_streams = most_streams
        self._most_objects = most_objects_in_all

    def next_cell(self, known: Mapping[Cell, bool]) -> Cell | None:
        """The cell to measure next, None when finished.

        ``known`` holds the measured cells, and whether each was carried.
        """
        for objects in self.objects:
            carried, refused = self._bounds(objects, known)
            if carried + 1 < refused:
                limit = self._limit(objects)
                if refused > limit:
                    streams = min(max(2 * carried, 1), limit)
                else:
                    streams = (carried + refused) // 2
                return Cell(objects, streams)
        return None

    def carried(self, objects: int, known: Mapping[Cell, bool]) -> int:
        """The most streams with this number of objects known to be carried."""
        return self._bounds(objects, known)[0]

    def is_found(self, objects: int, known: Mapping[Cell, bool]) -> bool:
        """Whether no more streams are carried, or more are not to be tried."""
        carried, refused = self._bounds(objects, known)
        return carried + 1 >= refused

    def is_limited(self, objects: int, known: Mapping[Cell, bool]) -> bool:
        """Whether the largest number tried is carried: the machine may carry more."""
        return self._bounds(objects, known)[0] >= self._limit(objects)

    def _limit(self, objects: int) -> int:
        return min(self._most_streams, self._most_objects // objects)

    def _bounds(self, objects: int, known: Mapping[Cell, bool]) -> tuple[int, int]:
        """The most streams known to be carried, and the fewest known not to be."""
        limit = self._limit(objects)
        carried = max(
            (cell.streams for cell, good in known.items() if good and cell.objects >= objects),
            default=0,
        )
        refused = min(
            (cell.streams for cell, good in known.items() if not good and cell.objects <= objects),
            default=limit + 1,
        )
        # Measurements of a busy machine can contradict each other: failures count.
        return min(carried, refused - 1, limit), min(refused, limit + 1)

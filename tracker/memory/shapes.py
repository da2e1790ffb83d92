"""Which objects look at their memories together: those that remember equally much.

Then nothing in the batch is padding, and attention needs no mask, which its fastest kernels do
not take. In steady state there are as many groups as there are different numbers of
conditioning memories, mostly one.

Dimensions: N objects, F spatial memories, P pointers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class MemoryShape:
    """So many spatial memories and pointers of every row; ``masked`` where some are padding."""

    frames: int
    pointers: int
    masked: bool


@dataclass(frozen=True, slots=True)
class MemoryShapes:
    """The shapes that are used: the full windows without a mask, and few with one.

    ``steady``: full windows with 1, 2, … conditioning memories. ``padded``, smallest first: what
    everything else is padded to, mostly objects that are new; the last holds all there can be.
    """

    steady: tuple[MemoryShape, ...]
    padded: tuple[MemoryShape, ...]

    @staticmethod
    def of(window: int, pointer_window: int, conditioning: int, others: int = 0) -> MemoryShapes:
        """Those of a bank with these windows and so many conditioning memories at most.

        ``others``: spatial memories beside these, which an object may have or not.
        """
        steady = tuple(
            MemoryShape(window + kept, pointer_window + kept, masked=False)
            for kept in range(1, conditioning + 1)
        )
        largest = steady[-1].frames + others, steady[-1].pointers
        padded = {(steady[0].frames, steady[0].pointers), largest}
        return MemoryShapes(
            steady,
            tuple(
                MemoryShape(frames, pointers, masked=True) for frames, pointers in sorted(padded)
            ),
        )

    @property
    def all(self) -> tuple[MemoryShape, ...]:
        """Every shape."""
        return self.steady + self.padded

    def shape_for(self, frames: int, pointers: int) -> MemoryShape:
        """The shape in which a row goes that remembers so much.

        What is larger than every shape has one of its own: it is counted as new.
        """
        exact = MemoryShape(frames, pointers, masked=False)
        if exact in self.steady:
            return exact
        fitting = (
            shape for shape in self.padded if shape.frames >= frames and shape.pointers >= pointers
        )
        return next(fitting, exact)


def groups_of(
    frames_N: IntArray, pointers_N: IntArray, shapes: MemoryShapes | None
) -> list[tuple[MemoryShape, IntArray]]:
    """Rows by shape, in the order in which shapes come first; without ``shapes`` by exact count."""
    rows_by_count: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, count in enumerate(zip(frames_N.tolist(), pointers_N.tolist(), strict=True)):
        rows_by_count[count].append(row)
    groups: dict[MemoryShape, list[int]] = defaultdict(list)
    for (frames, pointers), rows in rows_by_count.items():  # few: most remember equally much
        shape = (
            MemoryShape(frames, pointers, masked=False)
            if shapes is None
            else shapes.shape_for(frames, pointers)
        )
        groups[shape] += rows
    return [(shape, np.sort(np.array(rows, np.int64))) for shape, rows in groups.items()]

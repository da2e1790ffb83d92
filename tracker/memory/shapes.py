"""Groups objects with equally many memories for memory attention.

A group needs no padding, and attention no mask, which its fastest kernels do not accept. In steady
state there are as many groups as there are different numbers of conditioning memories, mostly one.

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
    """Spatial memories and pointers of every row; ``masked``: some of them may be padding."""

    frames: int
    pointers: int
    masked: bool


@dataclass(frozen=True, slots=True)
class MemoryShapes:
    """The shapes in use: full windows without a mask, and a few shapes with one.

    ``steady``: full windows with 1, 2, … conditioning memories. ``padded``, smallest first: all
    other rows, mostly of new objects, are padded to one of these; the last fits every row.
    """

    steady: tuple[MemoryShape, ...]
    padded: tuple[MemoryShape, ...]

    @staticmethod
    def of(window: int, pointer_window: int, conditioning: int, others: int = 0) -> MemoryShapes:
        """The shapes of a bank with these windows and at most ``conditioning`` memories of prompts.

        ``others``: further spatial memories that an object may have.
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
        """The shape for a row with this many memories.

        A row that exceeds every shape gets its own, which is counted as new.
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
    """Rows by shape, in order of first appearance; by exact counts if ``shapes`` is None."""
    rows_by_count: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, count in enumerate(zip(frames_N.tolist(), pointers_N.tolist(), strict=True)):
        rows_by_count[count].append(row)
    groups: dict[MemoryShape, list[int]] = defaultdict(list)
    for (frames, pointers), rows in rows_by_count.items():  # few: most rows have equal counts
        shape = (
            MemoryShape(frames, pointers, masked=False)
            if shapes is None
            else shapes.shape_for(frames, pointers)
        )
        groups[shape] += rows
    return [(shape, np.sort(np.array(rows, np.int64))) for shape, rows in groups.items()]

"""Splits a number of rows into chunks of fixed sizes, with little padding and few chunks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# A further chunk costs its launches, whatever its size: as much as one row of padding.
_CHUNK_COST_ROWS = 1
# Counts whose split is cached: every count of a large bank. The least recently used one goes.
_COUNTS_KEPT = 1024


@lru_cache(_COUNTS_KEPT)
def chunk_sizes(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes, largest first, that hold ``count`` rows at the least cost.

    Five rows become 4 + 1, not 8; seven become 8, not 4 + 2 + 1.
    """
    whole, rest = divmod(count, sizes[-1])
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for rows in range(1, rest + 1):
        best.append(
            min(
                (
                    (size + _CHUNK_COST_ROWS + before[0], (size, *before[1]))
                    for size in sizes
                    if (before := best[max(rows - size, 0)])
                ),
                key=lambda choice: (choice[0], len(choice[1])),
            )
        )
    return (sizes[-1],) * whole + tuple(sorted(best[rest][1], reverse=True))


class PaddedChunk(NamedTuple):
    """Row indices ``row_R`` of one chunk: ``real`` distinct rows, then copies of the last one."""

    row_R: npt.NDArray[np.int64]
    real: int


@lru_cache(_COUNTS_KEPT)
def padded_chunks(count: int, sizes: tuple[int, ...]) -> tuple[PaddedChunk, ...]:
    """The chunks of ``count`` rows, in order; they are not to be changed.

    Padding repeats a real row instead of using zeros: its results are dropped either way, but it
    cannot overflow or divide by zero where real rows do not.
    """
    chunks = []
    begin = 0
    for size in chunk_sizes(count, sizes):
        real = min(size, count - begin)
        chunks.append(PaddedChunk(np.minimum(np.arange(begin, begin + size), count - 1), real))
        begin += real
    return tuple(chunks)

"""So many rows as pieces of fixed sizes: with few rows that are padding, and few pieces."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# A further piece costs its launches, whatever its size: as much as one row of padding would.
_PIECE_COST_ROWS = 1
# Counts whose division is remembered: every count of a large bank. The oldest goes.
_COUNTS_KEPT = 1024


@lru_cache(_COUNTS_KEPT)
def pieces_of(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes, largest first, that hold ``count`` rows at the least cost.

    Five rows go as 4 + 1, not as 8; seven go as 8, not as 4 + 2 + 1.
    """
    whole, rest = divmod(count, sizes[-1])
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for rows in range(1, rest + 1):
        best.append(
            min(
                (
                    (size + _PIECE_COST_ROWS + before[0], (size, *before[1]))
                    for size in sizes
                    if (before := best[max(rows - size, 0)])
                ),
                key=lambda choice: (choice[0], len(choice[1])),
            )
        )
    return (sizes[-1],) * whole + tuple(sorted(best[rest][1], reverse=True))


class Piece(NamedTuple):
    """Rows that go together: ``row_R``, of which the first ``real`` are; the last is repeated."""

    row_R: npt.NDArray[np.int64]
    real: int


def pieces_with_padding(count: int, sizes: tuple[int, ...]) -> list[Piece]:
    """The rows of every piece, in order.

    Padding is a copy of a real row and not zeros: what comes of it is dropped either way, but it
    can neither overflow nor divide by zero where real rows do not.
    """
    pieces = []
    begin = 0
    for size in pieces_of(count, sizes):
        real = min(size, count - begin)
        pieces.append(Piece(np.minimum(np.arange(begin, begin + size), count - 1), real))
        begin += real
    return pieces

"""Which rows of a batch are paths of which object.

Dimensions: O objects, N rows (every path of every object), K paths of an object, E numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.memory.places import IntArray

if TYPE_CHECKING:
    from tracker.step.row_decider import Row


@dataclass(frozen=True, slots=True)
class Paths:
    """Rows, those of one object beside one another, the path that led so far first.

    ``owner_N``: whose row each is, by place among the objects. ``first_N``: whether it led so far.
    ``count_N``: how many paths its object has.
    """

    rows: list[Row]
    owner_N: IntArray
    first_N: npt.NDArray[np.bool_]
    count_N: IntArray

    @staticmethod
    def of(rows: list[Row]) -> Paths:
        """All paths of the rows' objects.

        Where somebody points at an object, or its frame is tracked once more, it has one.
        """
        if not any(session.branches for session in {row.session for row in rows}):
            one_N = np.ones(len(rows), np.int64)
            return Paths(rows, np.arange(len(rows)), one_N > 0, one_N)
        every: list[Row] = []
        owners: list[int] = []
        for owner, row in enumerate(rows):
            session = row.session
            followed = row.prompt is None and row.is_new
            slots = session.paths_of(row.object_id) if followed else (row.slot_in_bank,)
            every += [replace(row, slot=slot) for slot in slots]
            owners += [owner] * len(slots)
        owner_N = np.array(owners)
        count_N = np.bincount(owner_N)[owner_N]
        return Paths(every, owner_N, np.diff(owner_N, prepend=-1) > 0, count_N)

    @property
    def branched(self) -> bool:
        """Whether any object has more than one."""
        return len(self.rows) > self.objects

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return int(self.owner_N[-1]) + 1

    @property
    def table(self) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """The rows of each object (N, K), and which of these are real; the others repeat one."""
        count_O = np.bincount(self.owner_N)
        column_K = np.arange(count_O.max())
        real_OK = column_K < count_O[:, None]
        first_O = np.flatnonzero(self.first_N)
        return np.where(real_OK, first_O[:, None] + column_K, first_O[:, None]), real_OK


def side_by_side(told_NE: Tensor, paths: Paths) -> Tensor:
    """What is told of rows, by object, all its paths side by side: (O, K · E)."""
    if not paths.branched:
        return told_NE
    return told_NE[on_device(paths.table[0], told_NE.device)].flatten(1)


def row_by_row(told_OE: npt.NDArray[np.float64], paths: Paths) -> npt.NDArray[np.float64]:
    """The same, back on the host: by row (N, E)."""
    if not paths.branched:
        return told_OE
    _, real_OK = paths.table
    return told_OE.reshape(*real_OK.shape, -1)[real_OK]

"""Writes rows of results into a bank's tables of memories, at places found on the host.

Dimensions: N objects of a batch, R rows of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.memory.places import IntArray

BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[np.generic]


class Target(NamedTuple):
    """Which of N objects write to a table, and to which column of their slots."""

    column_N: IntArray
    chosen_N: BoolArray


class Writer:
    """Writes at once, the chosen rows only. ``run`` begins what others only wrote down."""

    # Whether all rows are written, those that are not chosen with what is there already.
    fixed = False

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(
        self,
        function: Callable[..., tuple[()]],
        arrays: Sequence[Array | None],
        tables: Sequence[Tensor],
    ) -> None:
        """Call ``function(*arrays, *tables)``; the arrays reach it as tensors."""
        function(
            *(None if each is None else on_device(each, self._device) for each in arrays), *tables
        )

    def run(self) -> None:
        """Begin all writes so far, before anything else looks at the memories."""

    def arrays(self, slot_N: IntArray, target: Target) -> tuple[Array | None, ...]:
        """What ``written`` needs for a target: rows, slots, columns, and whether chosen."""
        if self.fixed:
            return np.arange(len(slot_N)), slot_N, target.column_N, target.chosen_N
        row_R = np.flatnonzero(target.chosen_N)
        rows = None if len(row_R) == len(slot_N) else row_R
        return rows, slot_N[row_R], target.column_N[row_R], None


def written(
    into_KF: Tensor, arrays: Sequence[Tensor | None], what_N: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The places in a table and the values to write there; ``arrays``: those of ``Writer``."""
    row_R, slot_R, column_R, chosen_R = arrays
    assert slot_R is not None
    assert column_R is not None
    place = slot_R, column_R
    value = (what_N if row_R is None else what_N[row_R]).to(into_KF.dtype)
    if chosen_R is not None:
        before = into_KF[place]
        value = torch.where(chosen_R.view(-1, *[1] * (before.dim() - 1)), value, before)
    return place, value

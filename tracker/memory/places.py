"""Which memories a frame looks at: where they lie in the bank, and what lies there.

Dimensions: N objects of a batch, R some of these, F spatial memories, P pointers, W either,
L grid tokens, C hidden width, c memory width.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

IntArray = npt.NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.bool_)


class Places(NamedTuple):
    """Where in the bank N objects have what they remember; on the host.

    ``column_NF``: columns of spatial memories, ``temporal_NF`` the row of ``maskmem_tpos_enc``
    of each. ``pointer_column_NP``, ``age_NP`` in frames. ``valid_NF`` and ``pointer_valid_NP``:
    which of them are real; these come first in every row.
    """

    slot_N: IntArray
    column_NF: IntArray
    temporal_NF: IntArray
    valid_NF: npt.NDArray[np.bool_]
    pointer_column_NP: IntArray
    age_NP: IntArray
    pointer_valid_NP: npt.NDArray[np.bool_]

    @property
    def counts(self) -> tuple[IntArray, IntArray]:
        """How many spatial memories and pointers each row really has."""
        return self.valid_NF.sum(axis=1), self.pointer_valid_NP.sum(axis=1)

    def chosen(self, row_R: IntArray, frames: int, pointers: int) -> Places:
        """Some rows, each with so many spatial memories and pointers: cut, or padded."""
        return Places(
            self.slot_N[row_R],
            _as_wide(self.column_NF[row_R], frames),
            _as_wide(self.temporal_NF[row_R], frames),
            _as_wide(self.valid_NF[row_R], frames),
            _as_wide(self.pointer_column_NP[row_R], pointers),
            _as_wide(self.age_NP[row_R], pointers),
            _as_wide(self.pointer_valid_NP[row_R], pointers),
        )


class ConditioningMemories(NamedTuple):
    """The frames somebody pointed at, ``frame_F``, and what they left; on the host."""

    frame_F: IntArray
    spatial_FLc: npt.NDArray[np.float32]
    pointer_FC: npt.NDArray[np.float32]


class Recollection(NamedTuple):
    """What N objects remember at their frame, padded to the longest of them.

    ``spatial_NFLc``, ``temporal_index_NF`` (row of ``maskmem_tpos_enc``), ``pointer_NPC``,
    ``pointer_age_NP`` in frames. ``frame_valid_NF`` and ``pointer_valid_NP`` mark what is real,
    None where nothing is padding.
    """

    spatial_NFLc: Tensor
    temporal_index_NF: Tensor
    pointer_NPC: Tensor
    pointer_age_NP: Tensor
    frame_valid_NF: Tensor | None
    pointer_valid_NP: Tensor | None


def _as_wide(rows_NW: npt.NDArray[Number], width: int) -> npt.NDArray[Number]:
    """Rows cut to a width, or filled up with zeros: no place, age 0, not real."""
    missing = max(width - rows_NW.shape[1], 0)
    return np.pad(rows_NW[:, :width], ((0, 0), (0, missing)))

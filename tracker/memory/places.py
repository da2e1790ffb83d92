"""The memories a frame attends to: their places in the bank, and their contents.

Dimensions: N objects of a batch, R some of these, F spatial memories, P pointers, W either,
L grid tokens, C hidden width, c memory width.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

IntArray = npt.NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64, np.bool_)


class MemoryPlaces(NamedTuple):
    """The places of N objects' memories in the bank; on the host.

    ``column_NF``: columns of spatial memories, ``temporal_NF``: the row of ``maskmem_tpos_enc``
    of each. ``pointer_column_NP``: columns of pointers, ``age_NP``: their ages in frames.
    ``valid_NF`` and ``pointer_valid_NP``: whether each is real; real ones come first in a row.
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
        """Number of real spatial memories and pointers of each row."""
        return self.valid_NF.sum(axis=1), self.pointer_valid_NP.sum(axis=1)

    def chosen(self, row_R: IntArray, frames: int, pointers: int) -> MemoryPlaces:
        """Some rows, cut or padded to ``frames`` spatial memories and ``pointers`` pointers."""
        return MemoryPlaces(
            self.slot_N[row_R],
            _as_wide(self.column_NF[row_R], frames),
            _as_wide(self.temporal_NF[row_R], frames),
            _as_wide(self.valid_NF[row_R], frames),
            _as_wide(self.pointer_column_NP[row_R], pointers),
            _as_wide(self.age_NP[row_R], pointers),
            _as_wide(self.pointer_valid_NP[row_R], pointers),
        )


class ConditioningMemories(NamedTuple):
    """The prompted frames, ``frame_F``, with their memories and pointers; on the host."""

    frame_F: IntArray
    spatial_FLc: npt.NDArray[np.float32]
    pointer_FC: npt.NDArray[np.float32]


class Recollection(NamedTuple):
    """The memories that N objects read at their frame, padded to the longest row.

    ``spatial_NFLc``, ``temporal_index_NF`` (row of ``maskmem_tpos_enc``), ``pointer_NPC``,
    ``pointer_age_NP`` in frames. ``frame_valid_NF`` and ``pointer_valid_NP`` mark real entries;
    None without padding.
    """

    spatial_NFLc: Tensor
    temporal_index_NF: Tensor
    pointer_NPC: Tensor
    pointer_age_NP: Tensor
    frame_valid_NF: Tensor | None
    pointer_valid_NP: Tensor | None


def along_rows(values_NW: npt.NDArray[Number], column_NV: IntArray) -> npt.NDArray[Number]:
    """Some columns of each row, as ``np.take_along_axis`` but without its checks."""
    return values_NW[np.arange(len(values_NW))[:, None], column_NV]


def _as_wide(rows_NW: npt.NDArray[Number], width: int) -> npt.NDArray[Number]:
    """Rows cut to a width or padded with zeros: place 0, age 0, not real."""
    if width <= rows_NW.shape[1]:
        return rows_NW[:, :width]
    wide_NW = np.zeros((len(rows_NW), width), rows_NW.dtype)
    wide_NW[:, : rows_NW.shape[1]] = rows_NW
    return wide_NW

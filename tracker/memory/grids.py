"""Spatial memories on the token grids of several image sizes, one of which is in use.

Each memory stays on the grid it was computed on and is resampled from there to the grid in use:
switching to a smaller image and back, however often, leaves earlier memories unchanged.

Dimensions: K slots, F memories of each, L tokens of a grid, c memory width, n some memories.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.host_arrays import on_device
from tracker.memory.places import IntArray

# Memories resampled at a time: bounds the temporary memory to 17 MB at 1024².
_AT_ONCE = 16


class MemoryGrids:
    """Preallocated memories (K, F, L, c) on each grid; nothing grows after the last ``add``."""

    def __init__(
        self,
        shape_KFLc: tuple[int, int, int, int],
        side: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """``side``: of the first grid, which is in use, and on which memories are exported."""
        self._sides = [side]
        self._device = device
        self._on_grids = [torch.zeros(shape_KFLc, dtype=dtype, device=device)]
        self._made_on = np.zeros(shape_KFLc[:2], np.int8)
        self._used = 0

    def add(self, side: int) -> None:
        """Allocate all memories on another grid too."""
        slots, columns, _, width = self._on_grids[0].shape
        self._sides.append(side)
        self._on_grids.append(self._on_grids[0].new_zeros(slots, columns, side * side, width))

    @property
    def bytes(self) -> int:
        """Device memory allocated on all grids."""
        return sum(memories.nbytes for memories in self._on_grids)

    @property
    def memory_shape(self) -> tuple[int, int]:
        """Tokens and width of an exported memory."""
        _, _, tokens, width = self._on_grids[0].shape
        return tokens, width

    @property
    def in_use(self) -> Tensor:
        """The memories (K, F, L, c) on the grid in use; call ``wrote`` after writing to them."""
        return self._on_grids[self._used]

    def wrote(self, slot: int | IntArray, column: int | slice | IntArray) -> None:
        """Record that these memories were computed on the grid in use."""
        self._made_on[slot, column] = self._used

    def made_on(self, slot: int) -> npt.NDArray[np.int8]:
        """Index of the grid on which each memory of a slot was computed, (F,)."""
        made_on_F: npt.NDArray[np.int8] = self._made_on[slot].copy()
        return made_on_F

    def restore_made_on(self, slot: int, made_on_F: npt.NDArray[np.int8]) -> None:
        """Set an earlier result of ``made_on``, together with its memories."""
        self._made_on[slot] = made_on_F

    def use(self, side: int, filled_KF: npt.NDArray[np.bool_]) -> None:
        """Switch to the grid of this side; memories that are not ``filled`` are not resampled.

        Changes nothing if the device runs out of memory.
        """
        target = self._sides.index(side)
        if target != self._used:
            self._resample(target, filled_KF)
            self._used = target

    def import_memories(self, slot: int, spatial_FLc: Tensor) -> None:
        """Set the first memories of a slot, given on the first grid."""
        count = len(spatial_FLc)
        self._on_grids[0][slot, :count] = spatial_FLc.to(self._on_grids[0].dtype)
        self._made_on[slot, :count] = 0
        if self._used != 0:
            filled_KF = np.zeros_like(self._made_on, np.bool_)
            filled_KF[slot, :count] = True
            self._resample(self._used, filled_KF)

    def exported(self, slot: int, column_F: IntArray) -> Tensor:
        """Some memories of a slot on the first grid, (F, L, c)."""
        first_FLc = self._on_grids[0][slot, on_device(column_F, self._device)]
        for place, column in enumerate(column_F):
            made_on = self._made_on[slot, column]
            if made_on != 0:
                own_1Lc = self._on_grids[made_on][slot, column][None]
                first_FLc[place] = resampled(own_1Lc, self._sides[0])[0]
        return first_FLc

    def _resample(self, target: int, filled_KF: npt.NDArray[np.bool_]) -> None:
        for source, memories in enumerate(self._on_grids):
            slot_n, column_n = np.nonzero(filled_KF & (self._made_on == source))
            for begin in range(0, len(slot_n) if source != target else 0, _AT_ONCE):
                part = slice(begin, begin + _AT_ONCE)
                place = (
                    on_device(slot_n[part], self._device),
                    on_device(column_n[part], self._device),
                )
                self._on_grids[target][place] = resampled(memories[place], self._sides[target])


def resampled(spatial_nLc: Tensor, side: int) -> Tensor:
    """Memories on a square grid of another side; antialiased, like resized images."""
    before = round(spatial_nLc.shape[1] ** 0.5)
    grid_ncHW = spatial_nLc.float().transpose(1, 2).unflatten(2, (before, before))
    grid_ncHW = F.interpolate(
        grid_ncHW, (side, side), mode="bilinear", align_corners=False, antialias=True
    )
    return grid_ncHW.flatten(2).transpose(1, 2).to(spatial_nLc.dtype)

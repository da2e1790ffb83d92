"""The numbers of many calls, sent to a device in one copy, and read there by graphs.

A graph reads its numbers from where the head stands and moves the head behind them, where the next
graph finds its own. So the same graphs can be replayed in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tracker.engine.calls import Array
from tracker.host_arrays import pinned

# Bound, in numbers of 8 bytes; what does not fit is sent in several copies. An object needs about
# 100 numbers a step.
_NUMBERS = 1 << 16
_BEGIN = 1


class Tape:
    """Numbers written on the host for graphs to read on the device; the first is the head."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_device = torch.full((_NUMBERS,), _BEGIN, dtype=torch.int64, device=device)
        self._numbers = np.full(_NUMBERS, _BEGIN, np.int64)
        self._floats = self._numbers.view(np.float64)
        self._end = _BEGIN

    def has_room(self, arrays: Sequence[Array | None]) -> bool:
        """Whether these fit behind what was written since the last copy."""
        return self._end + sum(each.size for each in arrays if each is not None) <= _NUMBERS

    def write(self, arrays: Sequence[Array | None]) -> None:
        """Add the arrays of one call."""
        for each in arrays:
            if each is not None:
                begin, self._end = self._end, self._end + each.size
                numbers = self._floats if each.dtype.kind == "f" else self._numbers
                numbers[begin : self._end] = each.ravel()

    def send(self) -> None:
        """Start the copy of what was written, with the head before it.

        On the stream of the graphs: they read the memory that it fills, and it is small.
        """
        if self._end > _BEGIN:
            written = torch.from_numpy(self._numbers[: self._end])
            self._on_device[: self._end].copy_(pinned(written), non_blocking=True)
            self._end = _BEGIN

    def read(self, arrays: Sequence[Array | None]) -> Iterator[Tensor | None]:
        """Arrays of these shapes and types as a graph reads them, for its capture."""
        sizes = [0 if each is None else each.size for each in arrays]
        head = self._on_device[:1]
        part = self._on_device[head + torch.arange(sum(sizes), device=self._device)]
        self._on_device[:1] = head + sum(sizes)
        for array, own in zip(arrays, part.split(sizes), strict=True):
            if array is None:
                yield None
            elif array.dtype.kind == "f":
                yield own.view(torch.float64).float().view(array.shape)
            else:
                yield (own != 0 if array.dtype.kind == "b" else own).view(array.shape)

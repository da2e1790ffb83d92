"""Tables of results at addresses that stay, for graphs to fill and to read in place."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Tables:
    """Tables by name, each of ``rows`` rows and one more for padding.

    Bound: one for each name, place and shape of a row; allocated when a call first fills it.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows = rows
        self._device = device
        self._tables: dict[tuple[str, int, tuple[int, ...], torch.dtype], Tensor] = {}
        self._by_memory: dict[int, Tensor] = {}

    def table(self, name: str, place: int, like: Tensor) -> Tensor:
        """The table number ``place`` of a name, for rows such as these, laid out as they are."""
        key = name, place, tuple(like.shape[1:]), like.dtype
        table = self._tables.get(key)
        if table is None:
            row = torch.empty_like(like[:1])
            table = torch.empty_strided(
                (self.rows + 1, *row.shape[1:]),
                (math.prod(row.shape), *row.stride()[1:]),
                dtype=like.dtype,
                device=self._device,
            )
            table.zero_()
            self._tables[key] = self._by_memory[memory_of(table)] = table
        return table

    def at(self, memory: int) -> Tensor | None:
        """The whole table in this memory, see ``memory_of``; None if it is none."""
        return self._by_memory.get(memory)

    def clear(self) -> None:
        """Free the memory of all tables."""
        self._tables.clear()
        self._by_memory.clear()


def memory_of(tensor: Tensor) -> int:
    """What identifies the memory of a tensor and of its views."""
    identity: int = tensor.untyped_storage()._cdata
    return identity

"""Calls of fixed shapes on rows of tables: counted, and on a CUDA device captured as graphs.

A call reads tables, one row for each image or object, through arrays of row numbers, and its
results are rows of further tables. So the shapes of its arrays are the only ones that matter, and
calls follow each other without anything in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.host_arrays import on_device
from tracker.memory.places import IntArray
from tracker.model.chunking import join

Array = npt.NDArray[np.generic]
Shape = tuple[tuple[int, ...], np.dtype[np.generic] | torch.dtype] | None
Key = tuple[str, tuple[Shape, ...]]


class Call(NamedTuple):
    """One call: ``function(*arrays, *tables)`` returns tensors of ``size`` rows.

    ``name`` identifies the function. The first rows go to ``place_n`` of the result, the others
    are padding. ``arrays`` of the host reach the function as tensors: integers as int64, floats as
    float32. ``rare``: not worth a graph that was not captured in the warm-up.
    """

    name: str
    function: Callable[..., tuple[Tensor, ...]]
    place_n: IntArray
    size: int
    arrays: tuple[Array | None, ...]
    tables: tuple[Tensor | None, ...] = ()
    rare: bool = False

    @property
    def array_shapes(self) -> tuple[Shape, ...]:
        """Shape and type of each array."""
        return tuple(None if each is None else (each.shape, each.dtype) for each in self.arrays)

    @property
    def key(self) -> Key:
        """Equal for two calls of the same shape, however many rows their tables have."""
        tables = tuple(
            None if each is None else (tuple(each.shape[1:]), each.dtype) for each in self.tables
        )
        return self.name, (*self.array_shapes, *tables)


@dataclass(slots=True)
class CallCounts:
    """Counters, which never decrease.

    ``shapes``: distinct shapes called. ``in_service``: those first called after the warm-up.
    ``captures`` and ``evictions`` of graphs: more captures than shapes mean that evicted graphs
    had to be captured again.
    """

    shapes: int = 0
    in_service: int = 0
    captures: int = 0
    evictions: int = 0


@dataclass(slots=True)
class Calls:
    """Calls that are made at once. Bound: one small key for each shape."""

    device: torch.device
    counted: bool = True
    counts: CallCounts = field(default_factory=CallCounts)
    warm: bool = False
    _seen: set[Key] = field(default_factory=set)

    def __call__(
        self,
        into: str,  # noqa: ARG002  # names tables that stay
        count: int,
        calls: Sequence[Call],
    ) -> tuple[Tensor, ...]:
        """The tables ``into``, of ``count`` rows, which these calls fill together.

        Later calls into the same tables may overwrite them; ``kept`` copies rows.
        """
        parts = []
        for call in calls:
            self._count(call)
            results = self._made(call)
            real = len(call.place_n)
            parts.append(results if real == call.size else [each[:real] for each in results])
        if len(parts) == 1:
            return tuple(parts[0])
        place_N = np.concatenate([call.place_n for call in calls])
        columns = [join(list(column)) for column in zip(*parts, strict=True)]
        if not np.array_equal(place_N, np.arange(count)):
            order_N = on_device(np.argsort(place_N), self.device)
            columns = [column[order_N] for column in columns]
        return tuple(columns)

    def table(
        self,
        name: str,  # noqa: ARG002
        rows: Sequence[Tensor],
        place: int = 0,  # noqa: ARG002
    ) -> Tensor:
        """A table of these rows, each tensor (n, …), for calls to read.

        ``place``: which of the tables of this name.
        """
        return rows[0] if len(rows) == 1 else torch.cat(list(rows))

    def kept(self, tables: Sequence[Tensor], sizes: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """Groups of ``sizes`` rows of all tables, each in memory of its own.

        A view would keep all rows alive as long as any of them.
        """
        if len(sizes) == 1:
            return [tuple(tables)]
        pieces = [table.split(list(sizes)) for table in tables]
        return [tuple(map(torch.clone, group)) for group in zip(*pieces, strict=True)]

    def run(self) -> None:
        """Begin all calls made so far, before anything else reads their results."""

    def clear(self) -> None:
        """Forget what was captured and which shapes were called."""
        self._seen.clear()

    def _made(self, call: Call) -> tuple[Tensor, ...]:
        arrays = [None if each is None else on_device(each, self.device) for each in call.arrays]
        return call.function(*arrays, *call.tables)

    def _count(self, call: Call) -> None:
        if self.counted and not (call.rare and self.warm) and (key := call.key) not in self._seen:
            self._seen.add(key)
            self.counts.shapes += 1
            self.counts.in_service += self.warm


def rows_of(table: Tensor, row_R: Tensor | None) -> Tensor:
    """Some rows of a table, in its memory layout; all of them for None."""
    if row_R is None:
        return table
    if table.dim() == 4 and table.stride(1) == 1:  # maps with channels last
        return table.permute(0, 2, 3, 1)[row_R].permute(0, 3, 1, 2)
    return table[row_R]

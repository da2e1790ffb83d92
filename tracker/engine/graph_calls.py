"""Calls of a CUDA device, captured as graphs the first time and replayed afterwards.

A graph replays all launches of a call at once, on memory at fixed addresses: it reads its arrays
from a tape and its rows from tables, and writes rows of tables. Calls are queued: ``run`` sends the
tape in one copy and replays one graph after the other, with nothing in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracker.engine.calls import Call, Calls, Shape
from tracker.engine.tables import Tables, memory_of
from tracker.engine.tape import Tape
from tracker.host_arrays import on_device
from tracker.memory.places import IntArray

_RUNS_BEFORE_CAPTURE = 3

# A call's name, the shapes of its arrays, and the memory of its tables.
_Key = tuple[str, tuple[Shape, ...], tuple[int | None, ...]]


class _Graph(NamedTuple):
    replay: Callable[[], None]
    outputs: tuple[Tensor, ...]


class GraphCalls(Calls):
    """Calls that are replayed. Bound: ``most_graphs``; the least recently used one goes.

    All graphs share one memory pool, so a graph copies its results to tables, of ``rows`` rows.
    """

    def __init__(self, device: torch.device, most_graphs: int, rows: int) -> None:
        super().__init__(device)
        self._most = most_graphs
        self._graphs: OrderedDict[_Key, _Graph] = OrderedDict()
        self._tables = Tables(rows, device)
        self._tape = Tape(device)
        self._queue: list[Callable[[], object]] = []
        self._pool = torch.cuda.graph_pool_handle()
        # On this device: PyTorch's default capture stream is on the first device, and work on
        # another device is not captured.
        self._aside = torch.cuda.Stream(device)

    def __call__(self, into: str, count: int, calls: Sequence[Call]) -> tuple[Tensor, ...]:
        rows = self._tables.rows
        assert count <= rows, f"{count} rows of {into} in tables of {rows}"
        outputs: tuple[Tensor, ...] = ()
        for call in calls:
            outputs = self._queued(into, call)
        return tuple(table[:count] for table in outputs)

    def table(self, name: str, rows: Sequence[Tensor], place: int = 0) -> Tensor:
        first = rows[0]
        if len(rows) == 1 and self._tables.at(memory_of(first)) is not None:
            return first
        own = self._tables.table(name, place, first)[: sum(map(len, rows))]
        self._queue.append(partial(torch.cat, list(rows), out=own))
        return own

    def kept(self, tables: Sequence[Tensor], sizes: Sequence[int]) -> list[tuple[Tensor, ...]]:
        self.run()
        pieces = [each for table in tables for each in table.split_with_sizes(list(sizes))]
        copies = [torch.empty_like(each) for each in pieces]
        order = sorted(range(len(pieces)), key=lambda place: str(pieces[place].dtype))
        for _, places in groupby(order, key=lambda place: pieces[place].dtype):
            own = list(places)
            torch._foreach_copy_([copies[each] for each in own], [pieces[each] for each in own])
        return [tuple(copies[place :: len(sizes)]) for place in range(len(sizes))]

    def run(self) -> None:
        self._tape.send()
        queue, self._queue = self._queue, []
        for launch in queue:
            launch()

    def clear(self) -> None:
        """Free the memory of all graphs and tables, after what was called; the counts stay."""
        self.run()
        super().clear()
        self._graphs.clear()
        self._tables.clear()
        torch.cuda.empty_cache()

    def _queued(self, into: str, call: Call) -> tuple[Tensor, ...]:
        """Queue a call's graph, which is captured the first time -> the tables that it fills."""
        memories = tuple(None if each is None else memory_of(each) for each in call.tables)
        key = call.name, call.array_shapes, memories
        graph = self._graphs.get(key)
        if graph is None:
            self._count(call)
            whole = tuple(None if each is None else self._tables.at(each) for each in memories)
            fixed = all(
                given is None or table is not None
                for given, table in zip(call.tables, whole, strict=True)
            )
            assert fixed or call.rare, f"{call.name} reads what is not a table"
            if not fixed or (call.rare and self.warm):
                return self._plain(into, call)
            graph = self._graphs[key] = self._capture(into, call._replace(tables=whole))
            self.counts.captures += 1
            if len(self._graphs) > self._most:
                self._graphs.popitem(last=False)
                self.counts.evictions += 1
        else:
            self._graphs.move_to_end(key)
        self._write(call)
        self._queue.append(graph.replay)
        return graph.outputs

    def _plain(self, into: str, call: Call) -> tuple[Tensor, ...]:
        """Make a call without a graph, at once."""
        self.run()
        results = super()._made(call)
        place_R = on_device(self._places(call), self.device)
        outputs = self._outputs(into, results)
        for table, result in zip(outputs, results, strict=True):
            table[place_R] = result
        return outputs

    def _capture(self, into: str, call: Call) -> _Graph:
        # Whatever reads the tape while it captures finds this call's numbers.
        self._write(call)
        self.run()
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.device(self.device):
            # In their first calls libraries choose kernels and allocate one workspace per stream,
            # which a capture does not allow.
            self._aside.wait_stream(current)
            with torch.cuda.stream(self._aside):
                for _ in range(_RUNS_BEFORE_CAPTURE):
                    results = super()._made(call)
            current.wait_stream(self._aside)
            outputs = self._outputs(into, results)
            graph = torch.cuda.CUDAGraph()
            # Other threads prepare images meanwhile: only this thread is restricted to what can
            # be captured.
            with torch.cuda.graph(
                graph, self._pool, self._aside, capture_error_mode="thread_local"
            ):
                place_R, *arrays = self._tape.read((self._places(call), *call.arrays))
                results = call.function(*arrays, *call.tables)
                for table, result in zip(outputs, results, strict=True):
                    table[place_R] = result
        return _Graph(graph.replay, outputs)

    def _write(self, call: Call) -> None:
        arrays = self._places(call), *call.arrays
        if not self._tape.has_room(arrays):
            self.run()
        self._tape.write(arrays)

    def _places(self, call: Call) -> IntArray:
        """The row of each result; padding goes to the last row of all."""
        if len(call.place_n) == call.size:
            return call.place_n
        place_R = np.full(call.size, self._tables.rows, np.int64)
        place_R[: len(call.place_n)] = call.place_n
        return place_R

    def _outputs(self, into: str, results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            self._tables.table(into, place, result) for place, result in enumerate(results)
        )

"""Streams × workers: how soon they run, and what of their frames arrives and how late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from streamer.cli.bench.fleet.fault_run import seen
from streamer.cli.bench.fleet.watched import WatchedResults, latencies_s, nearest_rank
from streamer.fleet.simulated import SimulatedFleet
from streamer.fleet.view import FleetView, Worker, WorkerState

CELL_S = 8.0


@dataclass(frozen=True, slots=True)
class SweepCell:
    """``streams`` on ``workers``, added at once. ``up_s``: until each had a result, None: never.

    ``arrived`` is the share of the cameras' frames of which a result arrived. Latencies are from
    capture to arrival; None if nothing arrived.
    """

    workers: int
    streams: int
    up_s: float | None
    arrived: float
    p50_s: float | None
    p99_s: float | None


def cells(workers: int, streams: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(workers, numbers of streams): on all, on one less, … on one: 1, 2, 4 … and all streams."""
    counts = takewhile(lambda count: count < streams, (1 << power for power in range(32)))
    numbers = (*counts, streams)
    return ((count, numbers) for count in range(workers, 0, -1))


async def sweep(
    simulated: SimulatedFleet,
    watched: WatchedResults,
    workers: int,
    wanted: Mapping[str, Mapping[str, Any]],
    rate_hz: float,
) -> AsyncIterator[SweepCell]:
    """Measure every cell, in that order; nodes are drained for it one after the other.

    There must be no streams; there are none afterwards, and no node is drained.
    """
    drained: list[str] = []
    for count, numbers in cells(workers, len(wanted)):
        view = await simulated.until("workers ready", partial(_are_ready, count))
        for worker in _ready(view)[count:]:
            await simulated.fleet.drain(worker.node)
            drained.append(worker.node)
        for number in numbers:
            # Of ids of its own: the manager refuses those of streams that have not ended yet.
            added = {f"{key}-{number}-on-{count}": wanted[key] for key in list(wanted)[:number]}
            yield await _measured(simulated, watched, count, added, rate_hz)
    for node in drained:
        await simulated.fleet.drain(node, undo=True)


async def _measured(
    simulated: SimulatedFleet,
    watched: WatchedResults,
    workers: int,
    added: Mapping[str, Mapping[str, Any]],
    rate_hz: float,
) -> SweepCell:
    begin_s = time.time()
    for stream_id, settings in added.items():
        await simulated.fleet.add(stream_id, settings)
    is_up = await seen(simulated, watched, added, begin_s)
    up_s = time.time()
    await asyncio.sleep(CELL_S)
    found = latencies_s(watched.arrivals(), added, up_s, up_s + CELL_S)
    for stream_id in added:
        await simulated.fleet.remove(stream_id)
    await simulated.until("every stream removed", lambda view: not view.streams)
    return SweepCell(
        workers,
        len(added),
        up_s - begin_s if is_up else None,
        min(1.0, len(found) / (len(added) * CELL_S * rate_hz)),
        nearest_rank(found, 0.5),
        nearest_rank(found, 0.99),
    )


def _are_ready(count: int, view: FleetView) -> bool:
    return len(_ready(view)) >= count


def _ready(view: FleetView) -> list[Worker]:
    return [each for each in view.workers if each.state is WorkerState.READY]

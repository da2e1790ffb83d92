"""One fault of a fleet: what became of its streams, and how late the results of others were."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

from streamer.cli.bench.fleet.faults import Fault
from streamer.cli.bench.fleet.watched import (
    StreamOutcome,
    WatchedResults,
    latencies_s,
    outcome_of,
    undisturbed,
)
from streamer.errors import FleetError
from streamer.fleet.simulated import SimulatedFleet, busiest
from streamer.fleet.view import FleetView

SETTLE_S = 4.0  # of undisturbed results before a fault, and of results after it
UP_AGAIN_S = 120.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class FaultResult:
    """One fault: what became of the streams concerned, and the other streams' latencies.

    ``moved`` is whether another worker had to take them. Latencies are from capture to arrival.
    """

    fault: str
    moved: bool
    streams: tuple[StreamOutcome, ...]
    others_before_s: tuple[float, ...]
    others_during_s: tuple[float, ...]


async def measured_fault(
    simulated: SimulatedFleet, watched: WatchedResults, fault: Fault, workers: int, rate_hz: float
) -> FaultResult:
    """Do it to the worker with the most streams, once all of them run on so many workers."""
    while True:
        view = await simulated.all_running(workers)
        begin_s = time.time()
        await seen(simulated, watched, [each.stream_id for each in view.streams], begin_s)
        await asyncio.sleep(SETTLE_S)
        before, view = view, await simulated.all_running(workers)
        if [each.worker_id for each in view.streams] == [each.worker_id for each in before.streams]:
            break  # else an overloaded worker has just given one away
    worker = busiest(view)
    concerned = {each.stream_id for each in view.streams if each.worker_id == worker.worker_id}
    others = {each.stream_id for each in view.streams} - concerned
    fault_s = time.time()
    mend = await fault.happen(simulated, worker, concerned)
    try:
        if fault.moves:
            await seen(simulated, watched, concerned, fault_s, not_of=worker.worker_id)
        await asyncio.sleep(SETTLE_S)
        until_s, arrivals = time.time(), watched.arrivals()
    finally:
        if mend is not None:
            await mend()
    return FaultResult(
        fault.name,
        fault.moves,
        tuple(
            outcome_of(arrivals, each, worker.worker_id, fault_s, rate_hz)
            if fault.moves
            else undisturbed(arrivals, each, fault_s, rate_hz)
            for each in sorted(concerned)
        ),
        tuple(latencies_s(arrivals, others, begin_s, fault_s)),
        tuple(latencies_s(arrivals, others, fault_s, until_s)),
    )


async def seen(
    simulated: SimulatedFleet,
    watched: WatchedResults,
    streams: Collection[str],
    since_s: float,
    not_of: str | None = None,
) -> bool:
    """Wait until each stream has a result with objects since then, of any or another worker."""
    deadline_s = time.monotonic() + UP_AGAIN_S
    while time.monotonic() < deadline_s:
        watched.follow(await _view(simulated))
        found = {
            each.stream_id
            for each in watched.arrivals()
            if each.arrival_s >= since_s and each.object_ids and each.worker_id != not_of
        }
        if found.issuperset(streams):
            return True
        await asyncio.sleep(_LOOK_S)
    return False


async def _view(simulated: SimulatedFleet) -> FleetView:
    while True:
        try:
            return await simulated.fleet.view()
        except FleetError:  # the manager is being started again
            await asyncio.sleep(_LOOK_S)

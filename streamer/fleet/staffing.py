"""Which workers there are to be: started where machines have room, replaced, and let go.

Changes only workers; streams follow from them (``retargeting``).
"""

from __future__ import annotations

import math

from streamer.fleet.fleet_state import FleetState, StartWorker, WorkerEntry
from streamer.fleet.messages import Task
from streamer.fleet.record import WorkerRecord
from streamer.fleet.view import EventKind


def retire(state: FleetState, now_ns: int) -> None:
    """Empty workers of another generation one after the other; let go of empty ones."""
    for worker in state.workers.values():
        worker.retiring = worker.retiring and worker.generation != state.rules.generation
    all_ready = all(each.was_ready and each.died_s is None for each in state.workers.values())
    if all_ready and not any(each.retiring for each in state.workers.values()):
        for worker in state.workers.values():
            if worker.generation != state.rules.generation:
                worker.retiring = True
                break
    busy = {stream.record.worker_id for stream in state.streams.values()}
    busy |= {stream.target for stream in state.streams.values()}
    for worker_id, worker in state.workers.items():
        empty = worker_id not in busy and not worker.report.held
        if empty and not worker.leaving and (state.stopping or state.is_closing(worker)):
            worker.leaving = True
            state.event(EventKind.WORKER_DRAINED, now_ns, worker_id=worker_id, reason=worker.node)


def start_workers(state: FleetState, now_s: float) -> list[StartWorker]:
    """Start one wherever a machine has room, later and later where none became ready."""
    there: dict[str, int] = {}
    for worker in state.workers.values():
        there[worker.node_id] = there.get(worker.node_id, 0) + 1
    orders: list[StartWorker] = []
    for node in state.nodes.values():
        if node.name in state.record.draining:
            continue
        if now_s < state.failures.get(node.node_id, (0, -math.inf))[1]:
            continue
        for _ in range(node.slots - there.get(node.node_id, 0)):
            state.record.last_worker += 1
            worker_id = f"w{state.record.last_worker}"
            generation = state.rules.generation
            state.record.workers[worker_id] = WorkerRecord(node.node_id, node.name, generation)
            state.workers[worker_id] = WorkerEntry(
                node.node_id, node.name, generation, now_s, now_s
            )
            orders.append(StartWorker(worker_id, node.node_id))
    return orders


def task_of(state: FleetState, worker_id: str, worker: WorkerEntry) -> Task:
    """What a worker is to do; one of each kind of machine measures it."""
    if worker.leaving:
        return Task.LEAVE
    kind = worker.report.kind
    if worker.was_ready or state.capacity(kind) is not None:
        return Task.SERVE
    others = (each for key, each in state.workers.items() if key != worker_id)
    measured = any(
        each.task is Task.MEASURE and each.report.kind == kind and each.died_s is None
        for each in others
    )
    return Task.WAIT if not kind or measured else Task.MEASURE


def workers_wanted(state: FleetState) -> int:
    """Those there are, and enough for what waits: room for the autoscaler to make."""
    kinds = {each.report.kind for each in state.workers.values() if each.was_ready}
    waiting_share = 0.0
    for stream in state.streams.values():
        if stream.target is None and not stream.record.removed and not state.stopping:
            shares = [state.share(stream, kind) for kind in kinds]
            known = [each for each in shares if each is not None and math.isfinite(each)]
            waiting_share += min([*known, state.rules.headroom])  # no more than one alone
    return len(state.workers) + math.ceil(waiting_share / state.rules.headroom - 1e-9)

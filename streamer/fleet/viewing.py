"""The view of a fleet, made from the manager's decisions."""

from __future__ import annotations

from streamer.fleet.fleet_state import FleetState, StreamEntry, WorkerEntry
from streamer.fleet.view import (
    FleetView,
    Load,
    MoveReason,
    Stream,
    StreamState,
    Totals,
    Worker,
    WorkerState,
)


def view_of(
    name: str, revision: int, decisions: FleetState, trouble: str | None = None
) -> FleetView:
    """Everything that is shown of a fleet."""
    record = decisions.record
    shares: dict[str, float] = {}
    for stream in decisions.streams.values():
        holder = decisions.workers.get(stream.record.worker_id or "")
        if holder is not None and stream.record.worker_id is not None:
            share = decisions.share(stream, holder.report.kind) or 0.0
            shares[stream.record.worker_id] = shares.get(stream.record.worker_id, 0.0) + share
    return FleetView(
        name=name,
        revision=revision,
        workers=tuple(
            _worker(decisions, worker_id, worker, shares.get(worker_id, 0.0))
            for worker_id, worker in decisions.workers.items()
        ),
        streams=tuple(
            _stream(decisions, stream_id, stream)
            for stream_id, stream in sorted(decisions.streams.items())
            if not stream.record.removed
        ),
        events=tuple(record.events),
        draining=tuple(record.draining),
        totals=Totals(
            {MoveReason(reason): count for reason, count in record.moves.items()},
            record.failovers,
            record.failover_s,
        ),
        trouble=trouble,
    )


def _worker(decisions: FleetState, worker_id: str, worker: WorkerEntry, share: float) -> Worker:
    report = worker.report
    if decisions.is_lost(worker):
        state = WorkerState.LOST
    elif not report.is_ready:
        state = WorkerState.STARTING
    elif decisions.is_closing(worker):
        state = WorkerState.DRAINING
    else:
        state = WorkerState.READY
    return Worker(
        worker_id=worker_id,
        node=worker.node,
        state=state,
        version=report.version,
        http=report.http,
        zeromq=report.zeromq,
        server_key=report.server_key,
        load=Load(
            share=share,
            streams=len(report.held),
            objects=sum(each.objects for each in report.held.values()),
            overloaded=report.overloaded,
        ),
        capacity=decisions.capacity(report.kind) if report.kind else None,
    )


def _stream(decisions: FleetState, stream_id: str, stream: StreamEntry) -> Stream:
    worker_id = stream.record.worker_id
    holder = decisions.workers.get(worker_id or "")
    is_moving = worker_id is not None and stream.target not in (None, worker_id)
    is_stuck = (
        stream.is_stuck
        and holder is not None
        and (holder.report.overloaded or decisions.is_closing(holder))
    )
    if worker_id is None:
        state = StreamState.WAITING
    elif is_moving:
        state = StreamState.MOVING
    else:
        state = StreamState.RUNNING if stream.is_running else StreamState.STARTING
    return Stream(
        stream_id=stream_id,
        url=str(stream.config.url),
        priority=stream.config.priority,
        state=state,
        worker_id=worker_id,
        next_worker_id=stream.target if is_moving else None,
        reason=stream.reason if worker_id is None or (is_stuck and not is_moving) else None,
        token=stream.record.token,
        objects=stream.objects,
        since_ns=stream.since_ns,
    )

"""What a worker's report says of a stream: it runs there, has ended there, or is refused.

Changes only what is known of streams; what follows is decided later (``Decisions.step``).
"""

from __future__ import annotations

from streamer.fleet.fleet_state import FleetState, WorkerEntry
from streamer.fleet.messages import Mode
from streamer.fleet.view import EventKind

REFUSED_S = 60.0  # before a stream that a daemon refused is tried again


def holder_reported(
    state: FleetState, stream_id: str, worker: WorkerEntry, now_s: float, now_ns: int
) -> None:
    """A worker reported that may be tracking this stream."""
    stream = state.streams[stream_id]
    worker_id = stream.record.worker_id
    assert worker_id is not None
    held = worker.report.held.get(stream_id)
    if held is None:
        if stream_id not in worker.assigned and worker.report.seen >= worker.number > 0:
            stream.record.worker_id = None
            stream.is_running = False
        return
    if held.refused is not None:
        stream.record.worker_id = None
        refused(state, stream_id, worker_id, held.refused, now_s, now_ns)
        return
    stream.objects = held.objects
    is_running = held.is_ready and held.mode is Mode.RUN and held.token == stream.record.token
    if is_running and not stream.is_running:
        stream.is_running, stream.since_ns = True, now_ns
        if stream.lost_s is not None:
            state.record.failovers += 1
            state.record.failover_s += now_s - stream.lost_s
            stream.lost_s = None
        moved = stream.move_reason
        if moved is not None:
            state.record.moves[moved] = state.record.moves.get(moved, 0) + 1
        state.event(
            EventKind.STREAM_MOVED if moved else EventKind.STREAM_PLACED,
            now_ns,
            stream_id=stream_id,
            worker_id=worker_id,
            reason=moved,
        )
        stream.move_reason = None


def refused(
    state: FleetState,
    stream_id: str,
    worker_id: str,
    reason: str,
    now_s: float,
    now_ns: int,
) -> None:
    """The daemon of a worker does not take a stream: it is tried again later."""
    stream = state.streams[stream_id]
    stream.target = None if stream.record.worker_id is None else stream.record.worker_id
    stream.moving_since_s, stream.retry_s = None, now_s + REFUSED_S
    why = f"refused: {reason}"
    if stream.reason != why:  # it is tried again and again: one event, not all that are kept
        state.event(
            EventKind.STREAM_REFUSED,
            now_ns,
            stream_id=stream_id,
            worker_id=worker_id,
            reason=reason,
        )
    stream.reason = why
    if stream.target is None:
        stream.is_running = False

"""Which streams are given another worker now: those without one, and those that must leave theirs.

Changes only the targets of streams; ``Decisions`` then hands them over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from streamer.fleet.fleet_state import FleetState, StreamEntry
from streamer.fleet.placement import Demand, Placement, Room, place
from streamer.fleet.view import EventKind, MoveReason

OVERLOAD_S = 10.0  # between two streams that an overloaded worker gives away
RETRY_S = 5.0  # before a stream that fits on no other worker is tried again
MAXIMUM_STREAMS = 64  # of one daemon


def retarget_streams(state: FleetState, now_s: float, now_ns: int) -> None:
    """Give every stream without a target one; give those of closing workers another."""
    leaving: dict[str, str | None] = {}
    reasons: dict[str, MoveReason] = {}
    moving, on = set[str | None](), dict[str, list[str]]()
    for stream_id, stream in state.streams.items():
        if stream.target is not None:
            if stream.target != stream.record.worker_id:
                moving.add(stream.record.worker_id)
            if now_s >= stream.retry_s:
                on.setdefault(stream.target, []).append(stream_id)
    for worker_id, worker in state.workers.items():
        mine = on.get(worker_id, [])
        if worker.died_s is not None:
            leaving |= dict.fromkeys(mine, worker_id)
            reasons |= dict.fromkeys(mine, MoveReason.WORKER_LOST)
        elif mine and state.is_closing(worker) and worker_id not in moving:
            first = min(mine, key=lambda key: (-state.streams[key].config.priority, key))
            leaving[first], reasons[first] = worker_id, MoveReason.DRAINED
        elif (
            len(mine) > 1
            and worker.report.overloaded
            and worker_id not in moving
            and now_s >= worker.gave_away_s + OVERLOAD_S
        ):
            worker.gave_away_s = now_s
            last = min(mine, key=lambda key: (state.streams[key].config.priority, key))
            if not solve(state, {last: worker_id}).made_room:
                leaving[last], reasons[last] = worker_id, MoveReason.OVERLOADED
    for stream_id, stream in state.streams.items():
        free = stream.target is None and not stream.record.removed
        if free and now_s >= stream.retry_s:
            leaving[stream_id] = None
    if not leaving:
        return
    found = solve(state, leaving)
    for stream_id, worker_id in found.placed.items():
        stream = state.streams[stream_id]
        retarget(stream, worker_id, reasons.get(stream_id))
    for stream_id, reason in found.waiting.items():
        stream, had = state.streams[stream_id], leaving.get(stream_id)
        if _can_stay(state, had):
            stream.retry_s = now_s + RETRY_S  # better there than nowhere; others may fit
            if not stream.is_stuck or stream.reason != reason:
                stream.is_stuck, stream.reason = True, reason
                state.event(
                    EventKind.STREAM_WAITING,
                    now_ns,
                    stream_id=stream_id,
                    worker_id=had,
                    reason=reason,
                )
            continue
        if stream_id in found.made_room:
            reason = f"{found.made_room[stream_id]} of a higher priority took its place"
        if stream.target is not None or not stream.was_reported_waiting:
            state.event(EventKind.STREAM_WAITING, now_ns, stream_id=stream_id, reason=reason)
            stream.since_ns, stream.was_reported_waiting = now_ns, True
        stream.target, stream.reason, stream.moving_since_s = None, reason, None
        stream.is_stuck = False


def _can_stay(state: FleetState, worker_id: str | None) -> bool:
    """Whether a stream goes on where it is if it fits nowhere else.

    Not where its worker has ended, or makes way for its successor.
    """
    worker = None if worker_id is None else state.workers.get(worker_id)
    return worker is not None and worker.died_s is None and not worker.retiring


def retarget(stream: StreamEntry, worker_id: str, reason: MoveReason | None) -> None:
    """Make a worker the stream's next one; ``reason`` is counted once it is tracked there."""
    stream.target = worker_id
    stream.moving_since_s, stream.is_stuck = None, False
    if worker_id == stream.record.worker_id:
        stream.move_reason = None
    elif reason is not None:
        stream.move_reason = reason


def solve(
    state: FleetState, leaving: Mapping[str, str | None], only: set[str] | None = None
) -> Placement:
    """Place the streams of ``leaving`` anew, on other workers than those given with them.

    One of ``only`` is taken even if it reports overload: a user has named it.
    """
    kinds = {each.report.kind for each in state.workers.values() if each.was_ready}
    shares: dict[tuple[str, int, float | None], float] = {}
    demands = []
    for stream_id, stream in state.streams.items():
        is_leaving = stream_id in leaving
        if stream.target is None and not is_leaving:
            continue
        objects = max(stream.objects, len(stream.config.objects))
        by_kind = {}
        for kind in kinds:
            key = kind, objects, stream.config.max_rate_hz
            if key not in shares:
                share = state.share(stream, kind)
                shares[key] = math.inf if share is None else share
            by_kind[kind] = shares[key]
        demands.append(
            Demand(
                stream_id,
                stream.config.priority,
                objects,
                by_kind,
                None if is_leaving else stream.target,
                leaving.get(stream_id),
                can_stay=is_leaving and only is None and _can_stay(state, leaving[stream_id]),
            )
        )
    return place(demands, _rooms(state, only))


def _rooms(state: FleetState, only: set[str] | None) -> list[Room]:
    return [
        Room(
            worker_id,
            worker.report.kind,
            state.rules.headroom,
            MAXIMUM_STREAMS,
            state.rules.maximum_objects,
            is_open=(
                worker.was_ready
                and worker.report.is_ready
                and not state.is_lost(worker)
                and not state.is_closing(worker)
                and state.capacity(worker.report.kind) is not None
                and (only is None or worker_id in only)
            ),
            is_overloaded=state.now_s < worker.closed_until_s,
        )
        for worker_id, worker in state.workers.items()
    ]

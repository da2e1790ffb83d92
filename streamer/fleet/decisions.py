"""The manager's decisions: what it learns and the time go in, assignments and orders come out.

No clock, no Ray, no file. Two rules make sure that no stream is ever tracked twice:

* A stream is given to a worker only once no other has it: its former worker has reported so, is
  proved dead, or has not been granted a lease for ``lease_s`` and ``MARGIN_S``. A worker counts its
  lease from when it asked, the manager from when it answered: the worker's always ends first.
* Each time a stream is given away its fencing token grows; the state store refuses smaller ones.

``record`` must be kept before the assignments that follow from it are shown to workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from streamer.errors import ConfigError, ControlError, StreamExistsError
from streamer.fleet.config import FleetStream
from streamer.fleet.fleet_state import (
    EndWorker,
    FleetState,
    ForgetStream,
    Node,
    Order,
    ProveDead,
    Rules,
    StreamEntry,
    WantWorkers,
)
from streamer.fleet.messages import Assigned, Grant, Mode, Report, Task
from streamer.fleet.record import Record, StreamRecord
from streamer.fleet.reporting import holder_reported, refused
from streamer.fleet.retargeting import retarget, retarget_streams, solve
from streamer.fleet.staffing import retire, start_workers, task_of, workers_wanted
from streamer.fleet.view import EventKind, MoveReason

MARGIN_S = 1.0  # two monotonic clocks differ by far less over one lease
PREPARE_S = 15.0  # a camera that does not answer its next worker must not hold up a move
START_S = 600.0  # a worker loads its model, and may measure its machine before that
CLOSED_S = 60.0  # an overloaded worker comes last for streams until this long after


class Decisions(FleetState):
    """The state of a fleet and what follows from it. One owner, on one thread."""

    def __init__(self, rules: Rules, record: Record, term: int, now_s: float) -> None:
        """Go on from ``record``. ``term`` is larger than that of every manager before.

        Workers of before count as heard of now: what an earlier manager granted ends before that.
        """
        super().__init__(rules, record, now_s)
        self.term = term
        self._numbers = term << 32
        self._wanted_workers = 0
        self._index()

    # What users want.

    def add(self, stream_id: str, config: FleetStream, settings: Mapping[str, Any]) -> None:
        """Want a stream. Raises ``StreamExistsError``."""
        if (there := self.streams.get(stream_id)) is not None:
            ending = " and is ending; try again in a moment" if there.record.removed else ""
            raise StreamExistsError(f"there is a stream {stream_id} already{ending}")
        record = StreamRecord(dict(settings))
        self.record.streams[stream_id] = record
        self.streams[stream_id] = StreamEntry(record, config)

    def change(self, stream_id: str, config: FleetStream, settings: Mapping[str, Any]) -> None:
        """Give a stream other settings. Raises ``UnknownStreamError``."""
        stream = self.stream(stream_id)
        stream.config, stream.record.settings = config, dict(settings)
        stream.record.revision += 1
        stream.retry_s = -math.inf

    def remove(self, stream_id: str) -> None:
        """End a stream and forget it. Raises ``UnknownStreamError``."""
        stream = self.stream(stream_id)
        stream.record.removed, stream.target = True, None

    def move(self, stream_id: str, worker_id: str | None) -> None:
        """Move a stream, to the best other worker if none is named.

        Raises ``UnknownStreamError``, ``ConfigError`` for an unknown worker, ``ControlError``
        where there is no room.
        """
        stream = self.stream(stream_id)
        if worker_id is not None and worker_id not in self.workers:
            known = ", ".join(self.workers) or "none"
            raise ConfigError(f"there is no worker {worker_id!r}; there are: {known}")
        if worker_id is not None and worker_id == stream.target:
            return
        only = None if worker_id is None else {worker_id}
        found = solve(self, {stream_id: stream.target}, only)
        if found.made_room or stream_id not in found.placed:
            reason = found.waiting.get(stream_id, "only in the place of others")
            where = worker_id or "any other worker"
            raise ControlError(f"{stream_id} does not fit on {where}: {reason}")
        retarget(stream, found.placed[stream_id], MoveReason.REQUESTED)

    def drain(self, node: str, undo: bool) -> str:
        """Empty a node, named by a beginning of its name; returns the whole name.

        Raises ``ConfigError`` for none or several.
        """
        names = {each.name for each in self.nodes.values()}
        names |= {each.node for each in self.workers.values()} | set(self.record.draining)
        found = sorted(name for name in names if name == node) or sorted(
            name for name in names if name.startswith(node)
        )
        if len(found) != 1:
            several = "several nodes begin with" if found else "there is no node"
            raise ConfigError(f"{several} {node!r}; there are: {', '.join(sorted(names))}")
        if undo:
            self.record.draining = [name for name in self.record.draining if name != found[0]]
        elif found[0] not in self.record.draining:
            self.record.draining.append(found[0])
        return found[0]

    # What the manager learns.

    def living(self, nodes: Iterable[Node]) -> None:
        """The machines that live now."""
        self.nodes = {node.node_id: node for node in nodes}
        self.failures = {
            node_id: each for node_id, each in self.failures.items() if node_id in self.nodes
        }

    def died(self, worker_id: str, reason: str, now_s: float, now_ns: int) -> list[Order]:
        """A worker's actor has ended; its daemon is ending too, and that can be proved."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.died_s is not None:
            return []
        worker.died_s = now_s
        if not worker.leaving:
            self.event(EventKind.WORKER_LOST, now_ns, worker_id=worker_id, reason=reason)
        group = self.record.workers[worker_id].process_group
        if group is None:  # it never began a daemon
            self.gone(worker_id, now_s)
            return []
        return [ProveDead(worker_id, worker.node_id, group)]

    def gone(self, worker_id: str, now_s: float) -> None:
        """Nothing of a worker runs any more: its streams are free."""
        worker = self.workers.pop(worker_id, None)
        if worker is None:
            return
        del self.record.workers[worker_id]
        if not worker.was_ready:
            count = self.failures.get(worker.node_id, (0, 0.0))[0] + 1
            self.failures[worker.node_id] = count, now_s + min(60.0, 2.0**count)
        last_s = worker.granted_s if worker.died_s is None else worker.died_s
        for stream in self.streams.values():
            if stream.record.worker_id == worker_id:
                stream.record.worker_id = None
                stream.is_running, stream.retry_s = False, -math.inf
                if not worker.leaving:
                    stream.lost_s, stream.move_reason = last_s, MoveReason.WORKER_LOST
            if stream.target == worker_id:
                stream.target = None

    def reported(self, worker_id: str, report: Report, now_s: float, now_ns: int) -> None:
        """A worker's report; that of an unknown one is ignored."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.died_s is not None:
            return
        if report.is_ready and not worker.was_ready:
            worker.was_ready = True
            self.failures.pop(worker.node_id, None)
            self.event(EventKind.WORKER_READY, now_ns, worker_id=worker_id, reason=worker.node)
        self.now_s = now_s
        worker.report = report
        self.record.workers[worker_id].process_group = report.process_group
        if report.carried is not None:
            self.record.capacities[report.kind] = report.carried
        if report.overloaded:
            worker.closed_until_s = now_s + CLOSED_S
        for stream_id in worker.concerned & self.streams.keys():
            stream, held = self.streams[stream_id], report.held.get(stream_id)
            if stream.record.worker_id == worker_id:
                holder_reported(self, stream_id, worker, now_s, now_ns)
            elif stream.target == worker_id and held is not None and held.refused:
                refused(self, stream_id, worker_id, held.refused, now_s, now_ns)

    def grant(self, worker_id: str, seen: int, has: Mapping[str, int], now_s: float) -> Grant:
        """A lease for a worker that asks now, with its assignment if it has not ``seen`` it.

        ``has`` are the streams of which it has settings, and their revisions.
        """
        worker = self.workers.get(worker_id)
        if worker is None or worker.died_s is not None:
            return Grant(self.term, self.rules.lease_s, Task.LEAVE)
        worker.granted_s = self.now_s = now_s
        if worker.leaving:  # it has no stream, and time to shut down
            return Grant(self.term, self.rules.lease_s, Task.LEAVE)
        if seen == worker.number:
            return Grant(self.term, self.rules.lease_s, worker.task, worker.number)
        return Grant(
            self.term,
            self.rules.lease_s,
            worker.task,
            worker.number,
            dict(worker.assigned),
            {
                stream_id: self.streams[stream_id].record.settings
                for stream_id, each in worker.assigned.items()
                if has.get(stream_id) != each.revision
            },
        )

    # What follows.

    def step(self, now_s: float, now_ns: int) -> list[Order]:
        """Everything that follows from what is known now."""
        self.now_s = now_s
        orders: list[Order] = []
        for worker_id, worker in list(self.workers.items()):
            if now_s >= worker.granted_s + self.rules.lease_s + MARGIN_S and (
                worker.was_ready
                or worker.died_s is not None
                or now_s >= worker.started_s + START_S
                or worker.node_id not in self.nodes
            ):
                if worker.died_s is None:
                    reason = "not heard of for longer than its lease"
                    self.event(EventKind.WORKER_LOST, now_ns, worker_id=worker_id, reason=reason)
                    orders.append(EndWorker(worker_id))
                self.gone(worker_id, now_s)
        retire(self, now_ns)
        if not self.stopping:
            orders += start_workers(self, now_s)
            retarget_streams(self, now_s, now_ns)
        else:
            for stream in self.streams.values():
                stream.target, stream.reason = None, "the fleet is going down"
        orders += self._hand_over(now_s, now_ns)
        self._assign()
        wanted = workers_wanted(self)
        if wanted != self._wanted_workers:
            self._wanted_workers = wanted
            orders.append(WantWorkers(wanted))
        return orders

    def _hand_over(self, now_s: float, now_ns: int) -> list[Order]:
        """Give streams that no worker has to their targets; note how long the others move."""
        orders: list[Order] = []
        for stream_id, stream in list(self.streams.items()):
            record = stream.record
            if record.worker_id is None:
                if record.removed:
                    del self.streams[stream_id], self.record.streams[stream_id]
                    self.event(EventKind.STREAM_REMOVED, now_ns, stream_id=stream_id)
                    orders.append(ForgetStream(stream_id, record.token))
                elif stream.target is not None:
                    self.record.last_token += 1
                    record.worker_id, record.token = stream.target, self.record.last_token
                    stream.is_running, stream.moving_since_s = False, None
                    stream.was_reported_waiting, stream.since_ns = False, now_ns
            elif stream.target != record.worker_id and stream.moving_since_s is None:
                stream.moving_since_s, stream.since_ns = now_s, now_ns
        for stream in self.streams.values():
            if stream.moving_since_s is not None and now_s >= stream.moving_since_s + PREPARE_S:
                stream.moving_since_s = -math.inf
        return orders

    def _assign(self) -> None:
        """Each worker's assignment, with a new number where it changed."""
        assigned: dict[str, dict[str, Assigned]] = {key: {} for key in self.workers}
        for stream_id, stream in self.streams.items():
            record = stream.record
            if record.worker_id in assigned and not self._is_released(stream_id, stream):
                assigned[record.worker_id][stream_id] = Assigned(record.token, record.revision)
            if stream.target in assigned and stream.target != record.worker_id:
                assigned[stream.target][stream_id] = Assigned(0, record.revision, Mode.PREPARE)
        self._index()
        for worker_id, worker in self.workers.items():
            worker.task = task_of(self, worker_id, worker)
            if assigned[worker_id] != worker.assigned or not worker.number:
                self._numbers += 1
                worker.assigned, worker.number = assigned[worker_id], self._numbers

    def _index(self) -> None:
        for worker in self.workers.values():
            worker.concerned = set()
        for stream_id, stream in self.streams.items():
            for worker_id in (stream.record.worker_id, stream.target):
                if worker_id in self.workers:
                    self.workers[worker_id].concerned.add(stream_id)

    def _is_released(self, stream_id: str, stream: StreamEntry) -> bool:
        """Whether the worker that has a stream is to end it now: its next one is prepared."""
        if stream.target == stream.record.worker_id:
            return False
        if stream.target is None or stream.moving_since_s == -math.inf:
            return True
        held = self.workers[stream.target].report.held.get(stream_id)
        return held is not None and held.mode is Mode.PREPARE and held.is_ready

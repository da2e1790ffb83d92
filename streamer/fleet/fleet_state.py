"""What the manager knows of a fleet: its workers and streams, and the orders that can follow.

No clock, no Ray, no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from streamer.errors import UnknownStreamError
from streamer.fleet.capacity import share_of
from streamer.fleet.config import FleetStream
from streamer.fleet.messages import Assigned, Report, Task
from streamer.fleet.record import EVENTS_KEPT, Record, StreamRecord
from streamer.fleet.view import Capacity, EventKind, FleetEvent, MoveReason


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration sets. ``generation`` names the settings and version of the daemons."""

    lease_s: float
    headroom: float
    rate_hz: float
    maximum_objects: int
    generation: str
    carried: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A living machine of the cluster, and how many workers have room on it."""

    node_id: str
    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a worker on a node."""

    worker_id: str
    node_id: str


@dataclass(frozen=True, slots=True)
class ProveDead:
    """Make sure that nothing of a dead worker runs any more, and report it with ``gone``."""

    worker_id: str
    node_id: str
    process_group: int


@dataclass(frozen=True, slots=True)
class EndWorker:
    """End the process of a worker whose lease has run out, which keeps room from its successor."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class ForgetStream:
    """Remove what is saved of a stream, whose last token this is."""

    stream_id: str
    token: int


@dataclass(frozen=True, slots=True)
class WantWorkers:
    """Ask the autoscaler for room for so many workers in all."""

    count: int


Order = StartWorker | ProveDead | EndWorker | ForgetStream | WantWorkers


@dataclass(slots=True)
class WorkerEntry:
    """A worker as the manager sees it; ``granted_s`` is when its last lease was answered."""

    node_id: str
    node: str
    generation: str
    started_s: float
    granted_s: float
    report: Report = field(default_factory=Report)
    died_s: float | None = None
    was_ready: bool = False
    retiring: bool = False
    leaving: bool = False
    task: Task = Task.WAIT
    closed_until_s: float = -math.inf
    gave_away_s: float = -math.inf
    assigned: dict[str, Assigned] = field(default_factory=dict)
    number: int = 0
    concerned: set[str] = field(default_factory=set)  # streams that it has or is to have


@dataclass(slots=True)
class StreamEntry:
    """A stream: ``target`` is the worker that it is to be on, ``record.worker_id`` has it.

    ``reason`` is why no worker has it, or, where it ``is_stuck``, why it cannot leave its worker.
    """

    record: StreamRecord
    config: FleetStream
    target: str | None = None
    reason: str = "not placed yet"
    objects: int = 0
    since_ns: int = 0
    moving_since_s: float | None = None
    move_reason: MoveReason | None = None
    lost_s: float | None = None
    retry_s: float = -math.inf
    is_running: bool = False
    was_reported_waiting: bool = False
    is_stuck: bool = False


class FleetState:
    """Everything that is known at ``now_s``. It changes only inside the owner of ``Decisions``."""

    def __init__(self, rules: Rules, record: Record, now_s: float) -> None:
        """Workers of before count as heard of now: what an earlier manager granted ends before."""
        self.rules = rules
        self.record = record
        self.now_s = now_s
        self.stopping = False
        self.nodes: dict[str, Node] = {}
        self.failures: dict[str, tuple[int, float]] = {}  # of starts: by node, bounded by them
        self.workers = {
            worker_id: WorkerEntry(
                each.node_id,
                each.node,
                each.generation,
                now_s,
                now_s,
                was_ready=each.process_group is not None,
            )
            for worker_id, each in record.workers.items()
        }
        self.streams = {
            stream_id: StreamEntry(
                each,
                FleetStream.read(each.settings, f"streams.{stream_id}"),
                target=None if each.removed else each.worker_id,
                is_running=each.worker_id is not None,
            )
            for stream_id, each in record.streams.items()
        }

    def is_closing(self, worker: WorkerEntry) -> bool:
        """Whether a worker is being emptied."""
        return worker.retiring or worker.leaving or worker.node in self.record.draining

    def is_lost(self, worker: WorkerEntry) -> bool:
        """Whether a worker is doubted."""
        silent_s = self.now_s - worker.granted_s
        return worker.died_s is not None or (worker.was_ready and silent_s > self.rules.lease_s / 2)

    def capacity(self, kind: str) -> Capacity | None:
        """What a kind of machine carries; None: not measured yet."""
        carried = self.rules.carried or tuple(
            (objects, streams) for objects, streams in self.record.capacities.get(kind, ())
        )
        return Capacity(kind, self.rules.rate_hz, carried) if carried else None

    def share(self, stream: StreamEntry, kind: str) -> float | None:
        """The share that a stream takes of a worker of this kind; None: not measured yet."""
        capacity = self.capacity(kind)
        if capacity is None:
            return None
        objects = max(stream.objects, len(stream.config.objects))
        return share_of(capacity, objects, stream.config.max_rate_hz)

    def event(
        self,
        kind: EventKind,
        now_ns: int,
        *,
        stream_id: str | None = None,
        worker_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Note something that happened."""
        self.record.last_event += 1
        event = FleetEvent(self.record.last_event, now_ns, kind, stream_id, worker_id, reason)
        self.record.events = [*self.record.events, event][-EVENTS_KEPT:]

    def stream(self, stream_id: str) -> StreamEntry:
        """A wanted stream. Raises ``UnknownStreamError``."""
        stream = self.streams.get(stream_id)
        if stream is None or stream.record.removed:
            raise UnknownStreamError(f"there is no stream {stream_id!r}")
        return stream

"""What a fleet looks like from outside, and the protocol through which it is read and changed.

Knows neither Ray nor a socket: the manager makes these values; gateway and commands read them.

A stream's objects outlive its worker: every daemon of a fleet keeps them at the fleet's one state
address, apart for each stream. ``Stream.token`` is the fencing token of the stream's present
placement. It grows with each placement; what a former worker still writes with a smaller one is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class WorkerState(StrEnum):
    """``STARTING`` until its daemon is ready; ``LOST`` from the first doubt until its lease and a
    margin have passed, after which it is removed.
    """

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    LOST = "lost"


class StreamState(StrEnum):
    """``WAITING`` has a reason and no worker; ``MOVING`` has a second worker, its next one."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    MOVING = "moving"


class MoveReason(StrEnum):
    """Why a stream changed its worker."""

    REQUESTED = "requested"
    DRAINED = "drained"
    OVERLOADED = "overloaded"
    WORKER_LOST = "worker_lost"


class EventKind(StrEnum):
    """What happened to a fleet."""

    WORKER_READY = "worker_ready"
    WORKER_LOST = "worker_lost"
    WORKER_DRAINED = "worker_drained"
    STREAM_PLACED = "stream_placed"
    STREAM_MOVED = "stream_moved"
    STREAM_WAITING = "stream_waiting"
    STREAM_REFUSED = "stream_refused"
    STREAM_REMOVED = "stream_removed"
    MANAGER_STARTED = "manager_started"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a kind of machine carries within the latency objective, measured by ``masklet bench``.

    ``carried`` is (objects on each stream, streams carried), ascending, for cameras of ``rate_hz``.
    """

    kind: str
    rate_hz: float
    carried: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker does now. ``share`` of its capacity is placed on it: 1.0 is full."""

    share: float = 0.0
    streams: int = 0
    objects: int = 0
    overloaded: bool = False


@dataclass(frozen=True, slots=True)
class Worker:
    """A daemon of the fleet: one process group, on one device or on so many cores.

    ``worker_id`` is new with each start of a daemon. ``http`` is ``http://HOST:PORT``, ``zeromq``
    ``tcp://HOST:PORT`` and ``server_key`` that publisher's CURVE key; they are None until the
    daemon listens, and the key also where the fleet stays on loopback.
    """

    worker_id: str
    node: str
    state: WorkerState
    version: str = ""
    http: str | None = None
    zeromq: str | None = None
    server_key: str | None = field(default=None, repr=False)
    load: Load = Load()
    capacity: Capacity | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A wanted stream. ``worker_id`` has it; ``next_worker_id`` is where it is being moved to.

    ``url`` is without credentials, ``reason`` why it waits, or stays on a worker that is to give it
    away, ``since_ns`` the Unix time of its state, ``objects`` the number of tracked objects last
    reported.
    """

    stream_id: str
    url: str
    priority: int
    state: StreamState
    worker_id: str | None = None
    next_worker_id: str | None = None
    reason: str | None = None
    token: int = 0
    objects: int = 0
    since_ns: int = 0


@dataclass(frozen=True, slots=True)
class FleetEvent:
    """Something that happened; ``number`` grows by one, also over restarts of the manager."""

    number: int
    time_ns: int
    kind: EventKind
    stream_id: str | None = None
    worker_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counted since the fleet was made. ``failovers`` are streams placed anew after the loss of a
    worker, ``failover_s`` the sum of their seconds from the last sign of it to their first answer.
    """

    moves: Mapping[MoveReason, int] = field(default_factory=dict)
    failovers: int = 0
    failover_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FleetView:
    """The whole fleet at one moment. ``revision`` grows with every change.

    ``events`` are the newest, at most 256, in order. ``draining`` are the nodes being emptied.
    ``trouble`` is what keeps the manager from changing anything now.
    """

    name: str
    revision: int
    workers: tuple[Worker, ...] = ()
    streams: tuple[Stream, ...] = ()
    events: tuple[FleetEvent, ...] = ()
    draining: tuple[str, ...] = ()
    totals: Totals = Totals()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerAccess:
    """What lets the gateway in at every worker: None where the fleet stays on loopback.

    ``token`` may read, control and publish; the CURVE pair is on each publisher's list.
    """

    token: str | None = field(default=None, repr=False)
    client_public_key: str | None = None
    client_secret_key: str | None = field(default=None, repr=False)


class Fleet(Protocol):
    """A running fleet. Every method raises ``FleetError`` when its manager cannot be reached.

    Changes are kept before they are answered; the manager then brings them about.
    """

    async def view(self, after: int = -1, timeout_s: float = 0.0) -> FleetView:
        """The view once its revision is beyond ``after``, or after ``timeout_s``."""
        ...

    async def access(self) -> WorkerAccess:
        """The credentials of the workers."""
        ...

    async def settings(self, stream_id: str) -> Mapping[str, Any]:
        """What is wanted of a stream, as under ``streams.ID`` in a file, secrets included.

        Raises ``UnknownStreamError``.
        """
        ...

    async def add(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Want a stream, with settings as under ``streams.ID`` in a file.

        Raises ``ConfigError`` for wrong settings, ``ControlError`` for an id in use.
        """
        ...

    async def change(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Change settings of a stream; what is not given stays.

        Raises ``UnknownStreamError``, ``ConfigError``.
        """
        ...

    async def remove(self, stream_id: str) -> None:
        """End a stream and forget its objects. Raises ``UnknownStreamError``."""
        ...

    async def move(self, stream_id: str, worker_id: str | None = None) -> None:
        """Move a stream to a worker, or to the best other one.

        Raises ``UnknownStreamError``, ``ConfigError`` for a worker that does not exist, and
        ``ControlError`` for one without room.
        """
        ...

    async def drain(self, node: str, *, undo: bool = False) -> None:
        """Empty the workers of a node stream by stream and give them no more; ``undo`` ends that.

        Raises ``ConfigError`` for a node that the fleet does not know.
        """
        ...

    async def down(self) -> None:
        """End every worker and the manager. What is wanted stays in the state store.

        Raises ``FleetError`` for workers that have not ended in time; they end later.
        """
        ...

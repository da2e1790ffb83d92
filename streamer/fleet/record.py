"""What a fleet keeps over a restart of its manager: what is wanted, and who has what."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from streamer.fleet.view import FleetEvent, WorkerAccess

EVENTS_KEPT = 256


class StreamRecord(Struct):
    """A wanted stream. ``worker_id`` may be tracking it, under ``token``; None: no worker is.

    ``removed``: it is only kept until its worker has ended it.
    """

    settings: dict[str, Any]
    revision: int = 1
    worker_id: str | None = None
    token: int = 0
    removed: bool = False


class WorkerRecord(Struct):
    """A worker that was started and is not known to have ended."""

    node_id: str
    node: str
    generation: str = ""
    process_group: int | None = None


class Record(Struct):
    """Everything kept. Bound: ``EVENTS_KEPT`` events; the rest is as large as the fleet."""

    streams: dict[str, StreamRecord] = field(default_factory=dict)
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    draining: list[str] = field(default_factory=list)
    capacities: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    events: list[FleetEvent] = field(default_factory=list)
    moves: dict[str, int] = field(default_factory=dict)
    failovers: int = 0
    failover_s: float = 0.0
    access: WorkerAccess = field(default_factory=WorkerAccess)
    last_token: int = 0
    last_worker: int = 0
    last_event: int = 0

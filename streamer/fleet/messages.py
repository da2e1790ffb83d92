"""What manager, workers, gateway and commands send each other: both sides may differ by a version.

A call of an actor has one of these messages, as JSON, for its argument, or none: another version
would refuse further positional arguments. A field that one side does not know is ignored, and one
that it misses has its default.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from streamer.fleet.view import WorkerAccess


class Mode(StrEnum):
    """``PREPARE``: its camera is connected and nothing is tracked. ``RUN``: it is tracked."""

    PREPARE = "prepare"
    RUN = "run"


class Task(StrEnum):
    """What a worker is to do: wait for another's measurement, measure its machine, serve, end."""

    WAIT = "wait"
    MEASURE = "measure"
    SERVE = "serve"
    LEAVE = "leave"


class Assigned(Struct, frozen=True):
    """A stream that a worker is to have. ``revision`` counts changes of its settings."""

    token: int
    revision: int
    mode: Mode = Mode.RUN


class Held(Struct, frozen=True):
    """A stream that a worker may be tracking. ``is_ready``: begun in its mode.

    ``refused`` is why the daemon does not take it; then it is not tracked.
    """

    token: int
    revision: int
    mode: Mode = Mode.RUN
    is_ready: bool = False
    objects: int = 0
    refused: str | None = None


class LeaseRequest(Struct, frozen=True):
    """``seen`` is the number of the assignment that a worker knows, ``has`` the revisions of the
    streams that it has.
    """

    worker_id: str
    seen: int = 0
    has: dict[str, int] = {}


class Report(Struct, frozen=True):
    """What a worker does. ``seen`` is the number of the assignment that ``held`` answers: streams
    that it does not name, and that are not in ``held``, are tracked by this worker no more.
    """

    worker_id: str = ""
    kind: str = ""
    version: str = ""
    is_ready: bool = False
    seen: int = 0
    held: dict[str, Held] = {}
    overloaded: bool = False
    http: str | None = None
    zeromq: str | None = None
    server_key: str | None = None
    process_group: int | None = None
    carried: list[tuple[int, int]] | None = None


class Grant(Struct, frozen=True):
    """A lease, from when it was asked for until ``lease_s`` later, and what to do with it.

    ``term`` is the manager's: an earlier manager's grants do not count any more. ``streams`` is
    None where the worker has seen this assignment already; ``settings`` are those of the streams
    that it does not have in their newest revision.
    """

    term: int
    lease_s: float
    task: Task
    number: int = 0
    streams: dict[str, Assigned] | None = None
    settings: dict[str, dict[str, Any]] = {}


class Asked(Struct, frozen=True, omit_defaults=True):
    """What a user asks of the manager; each of its methods reads the fields that it names."""

    stream_id: str = ""
    settings: dict[str, Any] = {}
    worker_id: str | None = None
    node: str = ""
    undo: bool = False
    after: int = -1
    timeout_s: float = 0.0


class ManagerStart(Struct, frozen=True):
    """What a manager begins with: the fleet's configuration as it was given, and the ``generation``
    of its workers, which is another for each version and for other settings of the daemon.
    """

    name: str
    namespace: str
    config: dict[str, Any] = {}
    generation: str = ""


class WorkerStart(Struct, frozen=True):
    """What a worker begins with, of the fleet's configuration for the most part."""

    worker_id: str
    namespace: str
    access: WorkerAccess = WorkerAccess()
    daemon: dict[str, Any] = {}
    state: str = ""
    is_open: bool = False
    port_minimum: int = 0
    port_maximum: int = 0
    objective_p99_ms: float = 100.0
    rate_hz: float = 25.0
    measure_s: float = 300.0
    cores: int = 1
    gpus: int = 0


class GatewayStart(Struct, frozen=True):
    """What a gateway begins with; ``environment`` has its tokens."""

    name: str
    config: dict[str, Any] = {}
    environment: dict[str, str] = {}

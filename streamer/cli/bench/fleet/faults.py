"""What a fleet must survive: faults as they happen to machines, and moves that are asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from streamer.errors import FleetError
from streamer.fleet.cluster import MANAGER, namespace
from streamer.fleet.simulated import SimulatedFleet
from streamer.fleet.view import Worker

_GUARD = "streamer.fleet.guard"


Mend = Callable[[], Awaitable[object]] | None


@dataclass(frozen=True, slots=True)
class Fault:
    """``happen`` does it to a worker (or its node, or the manager) that has the named streams.

    It returns what ends it. ``key`` names it on the command line. ``moves``: the streams are to
    come up elsewhere. Ray starts nodes in the main thread alone: nothing here is for another.
    """

    key: str
    name: str
    moves: bool
    happen: Callable[[SimulatedFleet, Worker, Collection[str]], Awaitable[Mend]]


async def _asked_to_move(
    simulated: SimulatedFleet, worker: Worker, streams: Collection[str]
) -> None:
    view = await simulated.fleet.view()
    others = [each.worker_id for each in view.workers if each.worker_id != worker.worker_id]
    for stream_id, other in zip(streams, cycle(others), strict=False):
        await simulated.fleet.move(stream_id, other)  # one that is named may report overload


async def _drained(simulated: SimulatedFleet, worker: Worker, _: Collection[str]) -> Mend:
    await simulated.fleet.drain(worker.node)
    return partial(simulated.fleet.drain, worker.node, undo=True)


async def _daemon_killed(simulated: SimulatedFleet, worker: Worker, _: Collection[str]) -> None:
    os.killpg(_guard_of(await _process_of(simulated, worker)), signal.SIGKILL)


async def _worker_killed(simulated: SimulatedFleet, worker: Worker, _: Collection[str]) -> None:
    os.kill(await _process_of(simulated, worker), signal.SIGKILL)


async def _node_killed(simulated: SimulatedFleet, worker: Worker, _: Collection[str]) -> Mend:
    process = await _process_of(simulated, worker)
    os.kill(process, signal.SIGSTOP)  # nothing of a dead machine reports its end
    os.killpg(_guard_of(process), signal.SIGKILL)
    simulated.kill_node(worker.node)

    async def replaced() -> None:
        simulated.add_node()

    return replaced


async def _network_cut(simulated: SimulatedFleet, worker: Worker, _: Collection[str]) -> Mend:
    """Its daemon goes on and its cameras with it, while nothing reaches it from the manager."""
    process = await _process_of(simulated, worker)
    os.kill(process, signal.SIGSTOP)

    async def mended() -> None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)

    return mended


async def _manager_killed(simulated: SimulatedFleet, _: Worker, __: Collection[str]) -> None:
    import ray

    ray.kill(ray.get_actor(MANAGER, namespace=namespace(simulated.name)), no_restart=False)


FAULTS = (
    Fault("move", "asked to move", True, _asked_to_move),
    Fault("drain", "node drained", True, _drained),
    Fault("daemon", "daemon killed", True, _daemon_killed),
    Fault("worker", "worker killed", True, _worker_killed),
    Fault("manager", "manager killed", False, _manager_killed),
    Fault("network", "network cut", True, _network_cut),
    Fault("node", "node killed", True, _node_killed),
)


async def _process_of(simulated: SimulatedFleet, worker: Worker) -> int:
    """The process of a worker: other fleets of this machine have workers of the same name."""
    import ray

    actor: Any = ray.get_actor(worker.worker_id, namespace=namespace(simulated.name))
    return int(await actor.__ray_call__.remote(lambda _: os.getpid()))


def _guard_of(process: int) -> int:
    """The child of a worker's process that leads the daemon's group. Raises ``FleetError``."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == process and _GUARD in (folder / "cmdline").read_text().split("\0"):
                return int(folder.name)
    raise FleetError(f"process {process} of a worker has no daemon")

"""A fleet on a Ray cluster of several nodes that are all this machine, for measurements and shows.

Ray's own ``cluster_utils.Cluster``: each node is a raylet of its own, and ends as a machine does.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError, FleetError
from streamer.fleet.cluster import OF_NODES, agent_ports, namespace
from streamer.fleet.config import FleetConfig
from streamer.fleet.interruption import interruptible
from streamer.fleet.remote_fleet import RemoteFleet
from streamer.fleet.start import start_manager
from streamer.fleet.view import FleetView, StreamState, Worker, WorkerState

_STARTS = 4
_OBJECT_STORE_BYTES = 80 << 20
_READY_S = 600.0
_LOOK_S = 0.1


class SimulatedFleet:
    """A manager on the head node, and one worker on each of the other nodes."""

    def __init__(self, cluster: Any, config: FleetConfig) -> None:
        self.fleet = RemoteFleet(config.name)
        self.name = config.name
        self._cluster = cluster
        self._cpus = config.worker.cpus

    def add_node(self) -> Any:
        """Another machine with room for one worker."""
        return add_node(self._cluster, self._cpus)

    def kill_node(self, name: str) -> None:
        """End a machine without a word. ``name`` is ``Worker.node``: ``HOST-BEGINNING_OF_ID``."""
        beginning = name.rpartition("-")[2]
        (node,) = [n for n in self._cluster.worker_nodes if n.node_id.startswith(beginning)]
        self._cluster.remove_node(node, allow_graceful=False)

    async def until(self, what: str, condition: Callable[[FleetView], bool]) -> FleetView:
        """The first view that satisfies ``condition``. Raises ``FleetError`` after minutes."""
        deadline_s = time.monotonic() + _READY_S
        view = await self.fleet.view()
        while not condition(view):
            if time.monotonic() > deadline_s:
                raise FleetError(f"not within {_READY_S:.0f} s: {what}")
            view = await self.fleet.view(view.revision, _LOOK_S)
        return view

    async def all_running(self, workers: int) -> FleetView:
        """Once so many workers are ready and every stream runs."""
        return await self.until(
            f"{workers} workers, and every stream running",
            lambda view: (
                sum(each.state is WorkerState.READY for each in view.workers) >= workers
                and all(each.state is StreamState.RUNNING for each in view.streams)
            ),
        )


@contextmanager
def simulated_fleet(config: FleetConfig, nodes: int) -> Iterator[SimulatedFleet]:
    """A fleet on ``nodes`` nodes; SIGTERM and Ctrl-C end the block.

    Raises ``ConfigError`` without Ray.
    """
    os.environ.update(
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # loopback alone, see ``fleet/cluster.py``
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_USAGE_STATS_ENABLED="0",
        # What Ray prints here of a node that ended, with the end of its log: it was to end.
        RAY_DEDUP_LOGS_SKIP_REGEX="^",
        RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="0",  # SIGTERM while a node starts
        **OF_NODES,
    )
    try:
        ray = import_module("ray")
        cluster_type = import_module("ray.cluster_utils").Cluster
    except ModuleNotFoundError:
        raise ConfigError("a fleet needs Ray: pip install 'masklet[fleet]'") from None
    logging.getLogger("ray").setLevel(logging.ERROR)  # its import has set another
    with (
        tempfile.TemporaryDirectory(prefix="masklet-", ignore_cleanup_errors=True) as folder,
        interruptible(Path(folder)),
    ):
        config = config.changed(state=f"file://{Path(folder) / 'state'}")
        cluster = cluster_type()
        try:
            add_node(cluster, 0)
            ray.init(
                address=cluster.address,
                namespace=namespace(config.name),
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
            )
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray has put its own there
            simulated = SimulatedFleet(cluster, config)
            for _ in range(nodes):
                simulated.add_node()
            start_manager(ray, config)
            yield simulated
        finally:
            ray.shutdown()
            cluster.shutdown()


def busiest(view: FleetView) -> Worker:
    """The ready worker with the most streams."""
    return max(
        (each for each in view.workers if each.state is WorkerState.READY),
        key=lambda worker: sum(each.worker_id == worker.worker_id for each in view.streams),
    )


def add_node(cluster: Any, cpus: int) -> Any:
    """Add a node to a ``Cluster``; the first is the head node. Raises ``FleetError``."""
    handler = signal.getsignal(signal.SIGTERM)
    for _ in range(_STARTS):
        ports = agent_ports()
        ports["metrics_agent_port"] = ports.pop("dashboard_agent_grpc_port")
        try:
            return cluster.add_node(
                num_cpus=cpus,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                include_log_monitor=False,
                **ports,
            )
        except Exception as error:  # Ray's own type; a busy machine takes longer than Ray waits
            reason = str(error)
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray's own leaves half of its processes
    raise FleetError(f"a node of Ray did not start in {_STARTS} attempts ({reason})")

"""The nodes of the Ray cluster, and how many workers have room on each."""

from __future__ import annotations

from typing import Any

from streamer.fleet.config import WorkerConfig
from streamer.fleet.fleet_state import Node


def living_nodes(worker: WorkerConfig) -> list[Node]:
    """The nodes that live. Waits for Ray: not for an event loop."""
    import ray

    return [node for node in (_node(each, worker) for each in ray.nodes()) if node is not None]


def _node(node: dict[str, Any], worker: WorkerConfig) -> Node | None:
    if not node["Alive"]:
        return None
    resources = node["Resources"]
    slots = int(resources.get("CPU", 0)) // worker.cpus
    if worker.gpus:
        slots = min(slots, int(resources.get("GPU", 0)) // worker.gpus)
    if worker.maximum_per_node is not None:
        slots = min(slots, worker.maximum_per_node)
    # Ray's own name is the address unless another was given.
    name, address = node["NodeName"], node["NodeManagerAddress"]
    if name == address:
        name = node["NodeManagerHostname"]
    return Node(node["NodeID"], f"{name}-{node['NodeID'][:6]}", slots)

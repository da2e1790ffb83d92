"""Starts the manager of a fleet on a Ray cluster, or gives a running one a new configuration."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Any

import msgspec

from streamer.errors import ConfigError, FleetError
from streamer.fleet.cluster import MANAGER, namespace
from streamer.fleet.config import FleetConfig
from streamer.fleet.messages import Asked, ManagerStart

_ANSWER_S = 60.0


def start_manager(ray: Any, config: FleetConfig) -> None:
    """Start it; one that runs is replaced, and goes on from the state store.

    Its workers go on. Those of another version, or with other settings of the daemon, are replaced
    one after the other. Raises ``ConfigError`` for another state address than that of the one that
    runs: it knows nothing of what the workers hold. Raises ``FleetError`` if that does not answer.
    """
    from streamer.fleet.manager import Manager

    name = namespace(config.name)
    values = config.model_dump(mode="json", exclude_unset=True)
    daemon = json.dumps(values.get("daemon", {}), sort_keys=True)
    generation = f"{version('masklet')}-{hashlib.sha256(daemon.encode()).hexdigest()[:8]}"
    try:
        manager = ray.get_actor(MANAGER, namespace=name)
    except ValueError:
        running = False
    else:
        running = True
        _refuse_another_state(ray, manager, config)
        ray.kill(manager)
    while running:
        try:
            ray.get_actor(MANAGER, namespace=name)
        except ValueError:
            running = False
    ray.remote(Manager).options(
        name=MANAGER,
        namespace=name,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=10_000,
        num_cpus=0,
        # Not on a node that may be taken away: while the manager moves, leases run out.
        resources={"node:__internal_head__": 0.001},
    ).remote(msgspec.json.encode(ManagerStart(config.name, name, values, generation)))


def _refuse_another_state(ray: Any, manager: Any, config: FleetConfig) -> None:
    from ray.exceptions import RayError

    try:
        there = ray.get(manager.state.remote(msgspec.json.encode(Asked())), timeout=_ANSWER_S)
    except RayError as error:
        raise FleetError(
            f"the manager of fleet {config.name} does not answer ({type(error).__name__}); it is "
            "started again by Ray, try again in a moment"
        ) from error
    wanted = str(config.state_address())
    if there != wanted:
        raise ConfigError(
            f"state: fleet {config.name} runs with {there}, got {wanted}; a running fleet keeps "
            f"its state address: `masklet fleet down` first, or another name"
        )

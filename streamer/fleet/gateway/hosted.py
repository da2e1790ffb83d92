"""The gateway as a Ray actor, for the cluster that ``masklet fleet up`` begins and ends."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from streamer.config.state_folder import state_home
from streamer.errors import FleetError, MaskletError
from streamer.fleet.cluster import namespace
from streamer.fleet.gateway.config import GatewayConfig
from streamer.fleet.messages import GatewayStart
from streamer.fleet.remote_fleet import RemoteFleet
from streamer.runtime.descriptors import raise_descriptor_limit
from streamer.runtime.private_files import make_private_folder

_ACTOR = "gateway"
_ANSWER_S = 180.0  # a busy machine imports for a minute
_LOOK_S = 10.0
_RETRY_S = 2.0
_log = logging.getLogger(__name__)


class Addresses(Struct, frozen=True):
    """Where a fleet is reached: its page and API, and its results over ZeroMQ."""

    page: str
    results: str


class HostedGateway:
    """The actor: serves from its start on. Ray starts it again when its process ends."""

    def __init__(self, start: bytes) -> None:
        given = msgspec.json.decode(start, type=GatewayStart)
        os.environ.update(given.environment)
        raise_descriptor_limit()
        self._started: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._running = asyncio.ensure_future(self._run(given))
        self._running.add_done_callback(self._ended)

    async def addresses(self) -> bytes:
        """``Addresses`` as JSON, once it serves. Raises ``MaskletError`` where it cannot."""
        return await self._started

    async def _run(self, given: GatewayStart) -> None:
        from streamer.fleet.gateway.gateway import Gateway  # heavy: commands read addresses only

        settings = GatewayConfig.read(given.config, "gateway")
        while True:
            gateway = Gateway(
                settings, RemoteFleet(given.name), certificate_folder=certificate_folder
            )
            try:
                await gateway.start()
                break
            except MaskletError as error:
                await gateway.close()
                if not _was_serving():
                    raise
                _log.warning("the gateway cannot begin again yet: %s", error)
                await asyncio.sleep(_RETRY_S)
        addresses = Addresses(gateway.endpoint, gateway.results_endpoint)
        self._started.set_result(msgspec.json.encode(addresses))
        await gateway.run()

    def _ended(self, running: asyncio.Future[None]) -> None:
        error = running.exception()
        if not self._started.done() and isinstance(error, MaskletError):
            self._started.set_exception(error)
            return
        _log.critical("the gateway failed", exc_info=error)
        os._exit(1)


def _was_serving() -> bool:
    """Whether Ray has started this actor again."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def host_gateway(ray: Any, name: str, config: GatewayConfig) -> Addresses:
    """Serve the fleet's one address from its cluster, in place of a gateway that it has there.

    Raises ``MaskletError`` where the gateway cannot begin.
    """
    from ray.exceptions import RayError, RayTaskError

    end_hosted(ray, name)
    tokens = {each.token_env for each in config.api.tokens}
    start = GatewayStart(
        name,
        config.model_dump(mode="json", exclude_unset=True),
        {each: value for each, value in os.environ.items() if each in tokens},
    )
    actor = (
        ray.remote(HostedGateway)
        .options(
            name=_ACTOR,
            namespace=namespace(name),
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=100,
            num_cpus=0,
            resources={"node:__internal_head__": 0.001},
        )
        .remote(msgspec.json.encode(start))
    )
    try:
        answer: bytes = ray.get(actor.addresses.remote(), timeout=_ANSWER_S)
    except RayError as error:
        ray.kill(actor)
        if isinstance(error, RayTaskError) and isinstance(error.cause, MaskletError):
            raise error.cause from None
        raise FleetError(
            f"the gateway of fleet {name} did not begin ({type(error).__name__})"
        ) from error
    return msgspec.json.decode(answer, type=Addresses)


def hosted_addresses(ray: Any, name: str) -> Addresses | None:
    """Where the fleet's cluster serves its gateway; None where it serves none, or not now."""
    from ray.exceptions import RayError

    try:
        actor = ray.get_actor(_ACTOR, namespace=namespace(name))
        answer: bytes = ray.get(actor.addresses.remote(), timeout=_LOOK_S)
    except (ValueError, RayError, MaskletError):
        return None
    return msgspec.json.decode(answer, type=Addresses)


def end_hosted(ray: Any, name: str) -> None:
    """End the gateway that the fleet's cluster serves; returns once its name is free."""
    while True:
        try:
            actor = ray.get_actor(_ACTOR, namespace=namespace(name))
        except ValueError:
            return
        ray.kill(actor)


def certificate_folder() -> Path | None:
    """Where a gateway keeps a certificate of its own (``api.self_signed``)."""
    home = state_home()
    if home is None:
        return None
    folder = home / "gateway"
    make_private_folder("api.self_signed", folder)
    return folder

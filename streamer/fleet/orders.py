"""Carries out the manager's orders on the Ray cluster, and reports back what became of workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from streamer.errors import MaskletError
from streamer.fleet.cluster import LOOPBACK
from streamer.fleet.config import FleetConfig
from streamer.fleet.decisions import Decisions
from streamer.fleet.fleet_state import (
    EndWorker,
    ForgetStream,
    Order,
    ProveDead,
    StartWorker,
    WantWorkers,
)
from streamer.fleet.messages import WorkerStart
from streamer.fleet.proof import prove_dead
from streamer.fleet.store import FleetStore
from streamer.fleet.worker import Worker

_log = logging.getLogger(__name__)


class Orders:
    """On the manager's event loop. Bound: a few tasks for each worker and removed stream."""

    def __init__(
        self,
        config: FleetConfig,
        daemon: Mapping[str, Any],
        namespace: str,
        store: FleetStore,
        decisions: Decisions,
        changed: Callable[[], None],
    ) -> None:
        """``daemon`` are the settings of every daemon as they were given, ``changed`` is called
        once ``decisions`` know something new.
        """
        self._config = config
        self._daemon = dict(daemon)
        self._namespace = namespace
        self._store = store
        self._decisions = decisions
        self._changed = changed
        self._background: set[asyncio.Task[None]] = set()

    def carry_out(self, order: Order) -> None:
        """Begin with an order; what takes long is done in the background."""
        match order:
            case StartWorker():
                self._spawn(self._start_worker(order))
            case ProveDead():
                self._spawn(self._prove(order))
            case EndWorker():
                self._end_worker(order.worker_id)
            case ForgetStream():
                self._spawn(self._forget(order))
            case WantWorkers():
                self._want(order.count)

    def watch(self, worker_id: str) -> None:
        """Learn of the end of a worker that an earlier manager started."""
        self._spawn(self._watch(worker_id))

    async def _start_worker(self, order: StartWorker) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        config = self._config
        start = WorkerStart(
            worker_id=order.worker_id,
            namespace=self._namespace,
            daemon=self._daemon,
            state=str(config.state_address()),
            is_open=config.worker.host != LOOPBACK,
            access=self._decisions.record.access,
            port_minimum=config.worker.port_minimum,
            port_maximum=config.worker.port_maximum,
            objective_p99_ms=config.capacity.objective_p99_ms,
            rate_hz=config.capacity.rate_hz,
            measure_s=config.capacity.duration_s,
            cores=config.worker.cpus,
            gpus=config.worker.gpus,
        )
        self._end_worker(order.worker_id)  # one of a fleet whose record is gone
        ray.remote(Worker).options(
            name=order.worker_id,
            namespace=self._namespace,
            lifetime="detached",
            max_restarts=0,
            max_concurrency=100,
            num_cpus=config.worker.cpus,
            num_gpus=config.worker.gpus,
            scheduling_strategy=NodeAffinitySchedulingStrategy(order.node_id, soft=False),
        ).remote(msgspec.json.encode(start))
        await self._watch(order.worker_id)

    def _end_worker(self, worker_id: str) -> None:
        import ray

        with suppress(ValueError):
            ray.kill(ray.get_actor(worker_id, namespace=self._namespace))

    async def _watch(self, worker_id: str) -> None:
        """Wait for a worker's end, which Ray reports at once where the node lives."""
        import ray
        from ray.exceptions import RayError

        actor = None
        try:
            actor = ray.get_actor(worker_id, namespace=self._namespace)
            reason = str(await actor.ended.remote())
        except (RayError, ValueError) as error:
            reason = f"its process ended ({str(error).strip().splitlines()[0]})"
        if actor is not None:
            ray.kill(actor)
        orders = self._decisions.died(worker_id, reason, time.monotonic(), time.time_ns())
        self._changed()
        for order in orders:
            self.carry_out(order)

    async def _prove(self, order: ProveDead) -> None:
        import ray
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        try:
            is_dead = (
                await ray.remote(prove_dead)
                .options(
                    num_cpus=0,
                    max_retries=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(order.node_id, soft=False),
                )
                .remote(order.process_group, order.worker_id)
            )
        except RayError as error:
            _log.info("%s is not proved dead: %s", order.worker_id, type(error).__name__)
            return  # its node is gone: its lease is waited for
        if is_dead:
            self._decisions.gone(order.worker_id, time.monotonic())
            self._changed()

    async def _forget(self, order: ForgetStream) -> None:
        try:
            await asyncio.to_thread(self._store.forget_stream, order.stream_id, order.token)
        except (OSError, MaskletError) as error:
            _log.warning("what is saved of %s cannot be removed: %s", order.stream_id, error)

    def _want(self, count: int) -> None:
        """Ask Ray's autoscaler, where there is one, for room for so many workers."""
        from ray.autoscaler.sdk import request_resources

        bundle = {"CPU": self._config.worker.cpus}
        if self._config.worker.gpus:
            bundle["GPU"] = self._config.worker.gpus
        request_resources(bundles=[bundle] * count)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("an order was not carried out", exc_info=task.exception())

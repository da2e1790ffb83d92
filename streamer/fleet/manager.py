"""The manager: a detached Ray actor that keeps what is wanted, and answers workers and users.

Thin: ``Decisions`` decides, ``Orders`` carries it out. The loop of ``_run`` settles what is known,
keeps it in the state store, shows it to the workers and gives the orders, in this order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from functools import partial
from typing import Any

import msgspec

from streamer.config.stream_changes import merged
from streamer.config.stream_id import STREAM_ID, STREAM_ID_RULE
from streamer.errors import ConfigError, FleetError
from streamer.fleet.cluster import LOOPBACK
from streamer.fleet.cluster_nodes import living_nodes
from streamer.fleet.config import FleetConfig, FleetStream
from streamer.fleet.decisions import Decisions
from streamer.fleet.fleet_state import Rules
from streamer.fleet.messages import Asked, Grant, LeaseRequest, ManagerStart, Report, Task
from streamer.fleet.orders import Orders
from streamer.fleet.record import Record
from streamer.fleet.store import FleetStore
from streamer.fleet.view import EventKind, FleetView, WorkerAccess
from streamer.fleet.viewing import view_of
from streamer.streams.state.fenced_files import StaleTokenError

STEP_S = 0.25
NODES_S = 1.0
# A lease is asked for this often while nothing changes.
_LEASE_SHARE = 10
_RETRY_STORE_S = 2.0
_KEPT_S = 5.0
_log = logging.getLogger(__name__)


class Manager:
    """The actor. Answers are JSON (``messages``, ``view``), so that versions may differ."""

    def __init__(self, start: bytes) -> None:
        self._start = msgspec.json.decode(start, type=ManagerStart)
        # From JSON: keys may be numbers.
        self._config = FleetConfig.model_validate_json(msgspec.json.encode(self._start.config))
        self._store = FleetStore(self._config.state_address())
        self._decisions: Decisions | None = None
        self._is_kept = False
        self._revision = 0
        self._viewed = (-1, b"")  # the newest view and its revision
        self._unsettled = asyncio.Event()
        self._settled = asyncio.Condition()
        self._waiters: list[asyncio.Future[None]] = []
        self._trouble: str | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._running = asyncio.ensure_future(self._run())
        self._running.add_done_callback(self._ended)

    # For workers.

    async def grant(self, request: bytes) -> bytes:
        """A lease and, if it changed, the assignment; waits a little for a change."""
        asked = msgspec.json.decode(request, type=LeaseRequest)
        worker_id, seen = asked.worker_id, asked.seen
        decisions = await self._ready()
        if self._is_current(worker_id, seen):
            await self._change(self._config.lease_s / _LEASE_SHARE, worker_id, seen)
        grant = decisions.grant(worker_id, seen, asked.has, time.monotonic())
        if not self._is_kept and grant.task is not Task.LEAVE:
            # A lease goes on while the store is away; what is not kept yet is not shown.
            grant = Grant(grant.term, grant.lease_s, Task.WAIT if seen == 0 else grant.task, seen)
        return msgspec.json.encode(grant)

    async def report(self, message: bytes) -> None:
        """Take in what a worker does."""
        report = msgspec.json.decode(message, type=Report)
        decisions = await self._ready()
        decisions.reported(report.worker_id, report, time.monotonic(), time.time_ns())
        self._unsettled.set()

    # For users: ``view.Fleet``; each request is ``Asked``.

    async def view(self, request: bytes) -> bytes:
        """The view, once it is newer than ``after``."""
        asked = _asked(request)
        decisions = await self._ready()
        if self._revision <= asked.after:
            await self._change(asked.timeout_s, None, 0)
        if self._viewed[0] != self._revision:  # one for all who ask: large fleets cost 0.1 s
            view: FleetView = view_of(self._start.name, self._revision, decisions, self._trouble)
            self._viewed = self._revision, msgspec.json.encode(view)
        return self._viewed[1]

    async def state(self, _: bytes) -> str:
        """The address of its state store, which need not answer."""
        return str(self._config.state_address())

    async def access(self, _: bytes) -> bytes:
        """The workers' credentials."""
        return msgspec.json.encode((await self._ready()).record.access)

    async def settings(self, request: bytes) -> bytes:
        """What is wanted of a stream."""
        decisions = await self._ready()
        return msgspec.json.encode(decisions.stream(_asked(request).stream_id).record.settings)

    async def add(self, request: bytes) -> None:
        """Want a stream."""
        asked = _asked(request)
        stream_id, values = asked.stream_id, asked.settings
        decisions = await self._ready()
        if not STREAM_ID.fullmatch(stream_id):
            raise ConfigError(f"a stream's id must be {STREAM_ID_RULE}, got {stream_id!r}")
        decisions.add(stream_id, FleetStream.read(values, f"streams.{stream_id}"), values)
        await self._kept()

    async def change(self, request: bytes) -> None:
        """Change settings of a stream."""
        asked = _asked(request)
        stream_id = asked.stream_id
        decisions = await self._ready()
        before = decisions.stream(stream_id).config
        config = merged(f"streams.{stream_id}", before, asked.settings)
        decisions.change(stream_id, config, config.model_dump(mode="json", exclude_defaults=True))
        await self._kept()

    async def remove(self, request: bytes) -> None:
        """End a stream."""
        (await self._ready()).remove(_asked(request).stream_id)
        await self._kept()

    async def move(self, request: bytes) -> None:
        """Move a stream."""
        asked = _asked(request)
        (await self._ready()).move(asked.stream_id, asked.worker_id)
        await self._kept()

    async def drain(self, request: bytes) -> None:
        """Empty a node."""
        asked = _asked(request)
        (await self._ready()).drain(asked.node, asked.undo)
        await self._kept()

    async def down(self, _: bytes) -> None:
        """End all workers; returns once they have ended."""
        (await self._ready()).stopping = True
        self._unsettled.set()
        await asyncio.shield(self._gone)

    async def _ready(self) -> Decisions:
        while self._decisions is None:
            if self._running.done():
                self._running.result()
            if self._trouble is not None:
                raise FleetError(f"the fleet begins once its store answers: {self._trouble}")
            await asyncio.sleep(0.05)
        return self._decisions

    def _is_current(self, worker_id: str, seen: int) -> bool:
        assert self._decisions is not None
        worker = self._decisions.workers.get(worker_id)
        return (
            worker is not None
            and not worker.leaving
            and (worker.number == seen or not self._is_kept)
        )

    async def _change(self, timeout_s: float, worker_id: str | None, seen: int) -> None:
        """Wait until something was settled; for a worker, until its assignment was."""

        async def changed() -> None:
            async with self._settled:
                await self._settled.wait()
                while worker_id is not None and self._is_current(worker_id, seen):
                    await self._settled.wait()

        try:
            await asyncio.wait_for(changed(), timeout_s)
        except TimeoutError:
            return

    async def _kept(self) -> None:
        """Wait until what was just changed is in the store."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._unsettled.set()
        while not waiter.done():
            await asyncio.wait({waiter}, timeout=_KEPT_S)
            if not waiter.done() and self._trouble is not None:
                raise FleetError(f"this is done once the store answers: {self._trouble}")

    async def _run(self) -> None:
        decisions = await self._begin()
        kept = b""
        nodes_s = -NODES_S
        while not (decisions.stopping and not decisions.workers):
            now_s = time.monotonic()
            if now_s >= nodes_s + NODES_S:
                nodes_s = now_s
                decisions.living(await asyncio.to_thread(living_nodes, self._config.worker))
            waiters, self._waiters = self._waiters, []
            self._unsettled.clear()
            self._is_kept = False
            orders = decisions.step(time.monotonic(), time.time_ns())
            record = msgspec.json.encode(decisions.record)
            if record != kept:
                await self._retried(partial(self._store.write, record))
                kept = record
            self._is_kept = True
            self._revision += 1
            for waiter in waiters:
                if not waiter.done():  # its caller has gone
                    waiter.set_result(None)
            async with self._settled:
                self._settled.notify_all()
            for order in orders:
                self._orders.carry_out(order)
            try:
                await asyncio.wait_for(self._unsettled.wait(), NODES_S)
            except TimeoutError:
                continue
            await asyncio.sleep(STEP_S / 5)  # what comes together is settled together
        self._gone.set_result(None)

    def _ended(self, running: asyncio.Future[None]) -> None:
        """A manager that fails must not go on granting leases: Ray starts it again.

        One that could not begin answers every call with the reason.
        """
        if running.cancelled() or running.exception() is None or self._decisions is None:
            return
        _log.critical("the manager failed", exc_info=running.exception())
        os._exit(1)

    async def _begin(self) -> Decisions:
        content = await self._retried(self._store.begin)
        record = msgspec.json.decode(content, type=Record) if content else Record()
        config = self._config
        carried = tuple(sorted(config.capacity.carried.items()))
        rules = Rules(
            config.lease_s,
            config.capacity.headroom,
            config.capacity.rate_hz,
            config.daemon.tracking.max_objects,
            self._start.generation,
            carried,
        )
        decisions = Decisions(rules, record, self._store.term, time.monotonic())
        if not content:
            record.last_token = await self._retried(self._store.greatest_token)
            for stream_id, stream in config.streams.items():
                settings = stream.model_dump(mode="json", exclude_defaults=True)
                decisions.add(stream_id, stream, settings)
        if config.worker.host != LOOPBACK and record.access.token is None:
            record.access = _new_access()
        decisions.event(EventKind.MANAGER_STARTED, time.time_ns())
        self._orders = Orders(
            config,
            self._start.config.get("daemon", {}),
            self._start.namespace,
            self._store,
            decisions,
            self._unsettled.set,
        )
        for worker_id in list(decisions.workers):
            self._orders.watch(worker_id)
        self._decisions = decisions
        return decisions

    async def _retried(self, work: Any) -> Any:
        while True:
            working = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                if not (await asyncio.wait({working}, timeout=_KEPT_S))[0]:
                    self._in_trouble(f"no answer for {_KEPT_S:g} s")
                done = await working
            except StaleTokenError:
                # Another manager has the fleet: this one must not decide any more.
                import ray

                _log.error("another manager has this fleet: this one ends")
                ray.actor.exit_actor()
            except OSError as error:
                self._in_trouble(str(error))
                await asyncio.sleep(_RETRY_STORE_S)
            else:
                self._trouble = None
                return done

    def _in_trouble(self, reason: str) -> None:
        self._trouble = f"the state store {self._config.state_address()} does not answer ({reason})"
        self._revision += 1
        _log.warning("%s; trying again", self._trouble)


def _asked(request: bytes) -> Asked:
    return msgspec.json.decode(request, type=Asked)


def _new_access() -> WorkerAccess:
    """A token and a CURVE pair for the gateway, the only client of workers on a network."""
    import zmq

    public, secret = (key.decode() for key in zmq.curve_keypair())
    return WorkerAccess(secrets.token_urlsafe(32), public, secret)

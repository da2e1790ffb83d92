"""A gateway over real daemons on loopback, and a fleet whose view the test makes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from streamer.app import App
from streamer.config.network import ApiConfig, ApiLimitsConfig, TokenConfig
from streamer.errors import ControlError, FleetError, UnknownStreamError
from streamer.fleet.gateway.config import GatewayApiConfig, GatewayConfig
from streamer.fleet.gateway.gateway import Gateway
from streamer.fleet.view import (
    EventKind,
    FleetEvent,
    FleetView,
    Load,
    MoveReason,
    Stream,
    StreamState,
    Totals,
    Worker,
    WorkerAccess,
    WorkerState,
)
from streamer.sinks.zeromq.sink import ZeroMQConfig
from tests.integration.test_live_path import running, settings
from tests.streamer.fakes import FakeTracker

WAIT_S = 60.0
SMALL = "synthetic://match?seed=3&width=160&height=96&rate_hz=10"
WORKER_TOKEN = "worker-" + "w" * 30


@dataclass
class HandMadeFleet:
    """Keeps the protocol ``Fleet``; places a stream on the first worker that answers."""

    apps: dict[str, App]
    access_: WorkerAccess = field(default_factory=lambda: WorkerAccess(WORKER_TOKEN))
    is_away: bool = False

    def __post_init__(self) -> None:
        workers = tuple(
            Worker(
                worker_id,
                f"node-of-{worker_id}",
                WorkerState.READY,
                http=app.endpoints.api,
                zeromq=app.endpoints.zeromq,
                load=Load(0.25, 1, 2),
            )
            for worker_id, app in self.apps.items()
        )
        self.now = FleetView("yard", 1, workers)
        self.wanted: dict[str, dict[str, Any]] = {}
        self._changed = asyncio.Condition()

    async def put(self, **changes: Any) -> None:
        """Change the view."""
        self.now = replace(self.now, revision=self.now.revision + 1, **changes)
        async with self._changed:
            self._changed.notify_all()

    async def put_worker(self, worker_id: str, **changes: Any) -> None:
        """Change a worker of the view."""
        await self.put(
            workers=tuple(
                replace(each, **changes) if each.worker_id == worker_id else each
                for each in self.now.workers
            )
        )

    async def put_stream(self, stream_id: str, **changes: Any) -> None:
        """Change a stream of the view."""
        await self.put(
            streams=tuple(
                replace(each, **changes) if each.stream_id == stream_id else each
                for each in self.now.streams
            )
        )

    def _app_of(self, stream_id: str) -> App:
        (stream,) = (each for each in self.now.streams if each.stream_id == stream_id)
        return self.apps[stream.worker_id or ""]

    async def view(self, after: int = -1, timeout_s: float = 0.0) -> FleetView:
        self._check()
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: self.now.revision > after)
        except TimeoutError:
            pass
        self._check()
        return self.now

    async def access(self) -> WorkerAccess:
        self._check()
        return self.access_

    async def settings(self, stream_id: str) -> Mapping[str, Any]:
        self._known(stream_id)
        return self.wanted[stream_id]

    async def add(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        self._check()
        if stream_id in self.wanted:
            raise ControlError(f"there is a stream {stream_id} already")
        self.wanted[stream_id] = dict(settings)
        worker_id = next(
            (each.worker_id for each in self.now.workers if each.state is WorkerState.READY), None
        )
        state = StreamState.WAITING if worker_id is None else StreamState.RUNNING
        reason = "no worker has room" if worker_id is None else None
        stream = Stream(stream_id, str(settings["url"]), 5, state, worker_id, reason=reason)
        if worker_id is not None:
            await self.apps[worker_id].streams.add_from(stream_id, settings)
        await self.put(streams=(*self.now.streams, stream))

    async def change(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        self._known(stream_id)
        self.wanted[stream_id] |= settings
        await self._app_of(stream_id).streams.change(stream_id, settings)

    async def remove(self, stream_id: str) -> None:
        self._known(stream_id)
        app = self._app_of(stream_id)
        del self.wanted[stream_id]
        await self.put(
            streams=tuple(each for each in self.now.streams if each.stream_id != stream_id)
        )
        await app.streams.remove(stream_id)

    async def move(self, stream_id: str, worker_id: str | None = None) -> None:
        """Begun on the new worker before it is ended on the old one."""
        assert worker_id is not None
        before = self._app_of(stream_id)
        await self.apps[worker_id].streams.add_from(stream_id, self.wanted[stream_id])
        await self.put_stream(stream_id, worker_id=worker_id)
        number = self.now.events[-1].number + 1 if self.now.events else 0
        event = FleetEvent(number, 1, EventKind.STREAM_MOVED, stream_id, worker_id, "requested")
        moves = {MoveReason.REQUESTED: self.now.totals.moves.get(MoveReason.REQUESTED, 0) + 1}
        await self.put(events=(*self.now.events, event), totals=Totals(moves))
        await before.streams.remove(stream_id)

    async def drain(self, node: str, *, undo: bool = False) -> None:
        raise NotImplementedError

    async def down(self) -> None:
        raise NotImplementedError

    def _check(self) -> None:
        if self.is_away:
            raise FleetError("the manager of the fleet yard does not answer")

    def _known(self, stream_id: str) -> None:
        self._check()
        if stream_id not in self.wanted:
            raise UnknownStreamError(f"there is no stream {stream_id!r}")


@dataclass(frozen=True)
class Rig:
    """What a test works with; ``http`` is a client of the gateway without a token."""

    fleet: HandMadeFleet
    gateway: Gateway
    http: httpx.AsyncClient


def worker(folder: Path, name: str) -> App:
    """A daemon that only the gateway's token opens. ``WORKER_TOKEN`` is in its environment."""
    place = folder / name
    place.mkdir(mode=0o700)
    token = TokenConfig(name="gateway", scopes=["control", "publish"], token_env="WORKER_TOKEN")
    config = settings(place).changed(
        api=ApiConfig(port=0, tokens=[token], limits=ApiLimitsConfig(burst=10_000)),
        zeromq=ZeroMQConfig(endpoint="tcp://127.0.0.1:*", publisher_id=name),
    )
    return App(config, tracker=FakeTracker())  # type: ignore[arg-type]


@asynccontextmanager
async def rigged(
    folder: Path,
    monkeypatch: Any,
    api: GatewayApiConfig | None = None,
    zeromq: ZeroMQConfig | None = None,
) -> AsyncIterator[Rig]:
    """Two daemons ``w1`` and ``w2``, and a gateway over them."""
    monkeypatch.setenv("WORKER_TOKEN", WORKER_TOKEN)
    async with AsyncExitStack() as stack:
        apps = {
            name: await stack.enter_async_context(running(worker(folder, name)))
            for name in ("w1", "w2")
        }
        fleet = HandMadeFleet(apps)
        config = GatewayConfig(
            api=api or GatewayApiConfig(port=0),
            zeromq=zeromq or ZeroMQConfig(endpoint="tcp://127.0.0.1:*"),
        )
        rig = await stack.enter_async_context(gateway_over(fleet, config))
        yield rig


@asynccontextmanager
async def gateway_over(fleet: HandMadeFleet, config: GatewayConfig) -> AsyncIterator[Rig]:
    """A gateway of a fleet, serving until the end of the block."""
    gateway = Gateway(config, fleet)
    await gateway.start()
    run = asyncio.create_task(gateway.run())
    try:
        async with httpx.AsyncClient(base_url=gateway.endpoint, timeout=WAIT_S) as http:
            yield Rig(fleet, gateway, http)
    finally:
        run.cancel()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({run})
            await gateway.close()
        if not run.cancelled() and (error := run.exception()) is not None:
            raise error

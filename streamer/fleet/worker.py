"""A worker: a Ray actor that keeps one daemon, its lease and its streams.

Thin: what to do comes with each lease (``messages``), ``HeldStreams`` does it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import yaml

from streamer.client.api_client import ApiError
from streamer.errors import MaskletError
from streamer.fleet.cluster import LOOPBACK
from streamer.fleet.daemon_process import (
    DaemonProcess,
    Listening,
    free_ports,
    measured,
)
from streamer.fleet.guard import lease_clock_s
from streamer.fleet.guarded_process import GuardedProcess
from streamer.fleet.held_streams import HeldStreams
from streamer.fleet.messages import Assigned, Grant, LeaseRequest, Report, Task, WorkerStart
from streamer.runtime.curve_keys import allow_client, make_keys
from streamer.runtime.machine import core_count, processor_name

REPORT_S = 1.0
# What has not changed is reported so often: a call costs the manager 0.5 ms of processor time.
_REPEAT_S = 10.0
_RETRY_S = 0.3
_STOP_S = 15.0
_LINGER_S = 10.0
_log = logging.getLogger(__name__)


class Worker:
    """The actor. ``ended`` is what the manager waits for: why it ended."""

    def __init__(self, start: bytes) -> None:
        self._settings = msgspec.json.decode(start, type=WorkerStart)
        self._worker_id = self._settings.worker_id
        self._prefix = f"masklet-{self._worker_id}-"
        self._folder: Path | None = None
        self._daemon: DaemonProcess | None = None
        self._streams: HeldStreams | None = None
        self._report = Report(worker_id=self._worker_id, kind=_kind(self._settings))
        self._assigned: dict[str, Assigned] = {}
        self._number = 0
        self._term = 0
        self._reported = (0, Report())
        self._reported_s = 0.0
        self._task = Task.WAIT
        self._until_s = 0.0
        self._changed = asyncio.Event()
        self._ended = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.ensure_future(self._ending_with(each)) for each in (self._lease(), self._work())
        ]

    async def ended(self) -> str:
        """Why the worker ended, once it has."""
        return str(await asyncio.shield(self._ended))

    async def _ending_with(self, work: Coroutine[Any, Any, None]) -> None:
        """End with a task of this worker, or its failure."""
        try:
            await work
        except (MaskletError, OSError) as error:
            self._end(str(error))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._end(repr(error))
            raise

    async def _lease(self) -> None:
        """Ask for one lease after the other; each runs from when it was asked for."""
        while True:
            asked_s = lease_clock_s()
            try:
                asked = LeaseRequest(self._worker_id, self._number, self._revisions())
                answer = await self._manager().grant.remote(msgspec.json.encode(asked))
            except _ray_errors() as error:
                _log.info("the manager does not answer: %s", type(error).__name__)
                await asyncio.sleep(_RETRY_S)
                continue
            grant = msgspec.json.decode(answer, type=Grant)
            if grant.term < self._term:
                await asyncio.sleep(_RETRY_S)
                continue
            self._term, self._task = grant.term, grant.task
            self._until_s = asked_s + grant.lease_s
            if self._daemon is not None:
                self._daemon.process.may_run_until(self._until_s)
            if grant.task is Task.LEAVE:
                await asyncio.sleep(_RETRY_S)
            if grant.streams is not None:
                if self._streams is not None:
                    self._streams.learn(grant.streams, grant.settings)
                    self._assigned, self._number = grant.streams, grant.number
                elif not grant.streams:
                    self._number = grant.number
            self._changed.set()

    async def _work(self) -> None:
        await self._send()
        while self._task is not Task.LEAVE:
            if self._task is Task.MEASURE and self._report.carried is None:
                await self._measure()
            elif self._task is Task.SERVE and self._daemon is None:
                await self._begin()
            elif self._daemon is not None:
                await self._settle()
            self._changed.clear()
            await self._send()
            await _either(self._changed, REPORT_S)
        await self._stop()
        self._end("it was asked to leave")

    async def _measure(self) -> None:
        """Run ``masklet bench`` once for this kind of machine."""
        settings = self._settings
        with tempfile.TemporaryDirectory(prefix=self._prefix, ignore_cleanup_errors=True) as made:
            folder = Path(made)
            path, output = folder / "bench.yaml", folder / "bench"
            path.write_text(yaml.safe_dump(settings.daemon))
            bench = GuardedProcess.begin(self._worker_id, folder, math.inf, [
                "bench", "--config", str(path), "--rate-hz", f"{settings.rate_hz:g}",
                "--objective-p99-ms", f"{settings.objective_p99_ms:g}", "--objects", "1,4,16",
                "--duration-s", f"{settings.measure_s:g}", "--no-plot", "--output-dir", str(output),
            ])  # fmt: skip
            ended = asyncio.ensure_future(asyncio.to_thread(bench.wait))
            try:
                while not ended.done() and self._task is not Task.LEAVE:
                    await asyncio.wait({ended}, timeout=REPORT_S)
            finally:
                bench.kill()
            await ended
            if self._task is Task.LEAVE:
                return
            try:
                carried = measured(json.loads((output / "bench.json").read_bytes()))
            except (OSError, ValueError) as error:
                raise MaskletError(
                    f"masklet bench failed ({error}): {bench.last_words()}; give capacity.carried"
                ) from error
        self._report = msgspec.structs.replace(self._report, carried=list(carried))

    async def _begin(self) -> None:
        """Start the daemon; its model loads in the background."""
        settings = self._settings
        # Short: the paths of sockets are limited to 108 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix=self._prefix))
        listening = await asyncio.to_thread(self._listening, self._folder)
        self._daemon = await asyncio.to_thread(
            DaemonProcess.begin,
            self._worker_id,
            self._folder,
            settings.daemon,
            listening,
            settings.state,
            self._until_s,
        )
        self._tasks.append(asyncio.ensure_future(self._daemon_ended(self._daemon)))
        self._report = msgspec.structs.replace(
            self._report, process_group=self._daemon.process.process_group
        )
        await self._send()
        while not await asyncio.to_thread(self._daemon.is_ready):
            self._daemon.process.may_run_until(self._until_s)
            await asyncio.sleep(_RETRY_S)
        self._streams = HeldStreams(self._daemon)
        self._number = 0  # what was assigned before counts again
        self._report = msgspec.structs.replace(
            self._report,
            is_ready=True,
            version=await asyncio.to_thread(self._daemon.version),
            http=f"http://{listening.host}:{listening.http_port}",
            zeromq=f"tcp://{listening.host}:{listening.zeromq_port}",
            server_key=listening.public_key(),
        )

    def _listening(self, folder: Path) -> Listening:
        """Where the daemon is to listen: on loopback, or at the node's address with keys."""
        settings = self._settings
        ports = settings.port_minimum, settings.port_maximum
        if not settings.is_open:
            return Listening(LOOPBACK, *free_ports(LOOPBACK, *ports))
        import ray

        host: str = ray.util.get_node_ip_address()
        keys, clients = folder / "keys", folder / "keys" / "clients"
        server = make_keys(keys, "server")
        gateway = folder / "gateway.key"
        gateway.write_text(f'    public-key = "{settings.access.client_public_key}"\n')
        allow_client(clients, "gateway", gateway)
        return Listening(
            host, *free_ports(host, *ports), settings.access.token, server.secret, clients
        )

    async def _settle(self) -> None:
        """Do what is assigned, step by step, each of them reported; then look at the load."""
        assert self._daemon is not None
        assert self._streams is not None
        number, assigned = self._number, self._assigned
        try:
            while await asyncio.to_thread(self._streams.settle, assigned):
                await self._send()
                if self._number != number:
                    return
            await asyncio.to_thread(self._streams.observe)
            overloaded = await asyncio.to_thread(self._daemon.is_overloaded)
        except ApiError as error:
            if error.status is None:
                raise  # it hangs: ends with its worker
            # It refuses for now. Nothing is reported as ended that may not be.
            _log.warning("the daemon refuses: %s", error)
            return
        self._report = msgspec.structs.replace(self._report, seen=number, overloaded=overloaded)

    async def _send(self) -> None:
        if self._streams is not None:
            self._report = msgspec.structs.replace(self._report, held=dict(self._streams.held))
        reported, now_s = (self._term, self._report), lease_clock_s()  # a new manager knows none
        if reported == self._reported and now_s < self._reported_s + _REPEAT_S:
            return
        try:
            await self._manager().report.remote(msgspec.json.encode(self._report))
        except _ray_errors() as error:
            _log.info("the manager does not answer: %s", type(error).__name__)
        else:
            self._reported, self._reported_s = reported, now_s

    async def _daemon_ended(self, daemon: DaemonProcess) -> None:
        code = await asyncio.to_thread(daemon.process.wait)
        self._end(f"its daemon ended with {code}: {daemon.process.last_words()}")

    async def _stop(self) -> None:
        if self._daemon is not None:
            process = self._daemon.process
            process.stop()
            try:
                await asyncio.wait_for(asyncio.to_thread(process.wait), _STOP_S)
            except TimeoutError:
                process.kill()
                await asyncio.to_thread(process.wait)

    def _end(self, reason: str) -> None:
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if self._daemon is not None:
            self._daemon.process.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._ended.done():
            self._ended.set_result(reason)
            # The manager ends the process; one that has forgotten this worker does not.
            asyncio.get_running_loop().call_later(_LINGER_S, os._exit, 0)

    def _manager(self) -> Any:
        import ray

        from streamer.fleet.cluster import MANAGER

        return ray.get_actor(MANAGER, namespace=self._settings.namespace)

    def _revisions(self) -> dict[str, int]:
        return {} if self._streams is None else dict(self._streams.revisions)


def _kind(settings: WorkerStart) -> str:
    cores = min(core_count(), settings.cores)
    return f"{processor_name()}, {cores} cores, {settings.gpus} devices"


def _ray_errors() -> tuple[type[Exception], ...]:
    from ray.exceptions import RayError

    # ValueError: there is no actor of this name, because it is being started again.
    return RayError, ValueError


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return

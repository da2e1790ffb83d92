"""What a gateway costs over ZeroMQ and WebSockets: a message's delay, a reader's processor time.

The gateway is a process of its own. The same messages are read from the workers themselves and
through it; then more readers come.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio
from websockets.asyncio.client import connect

from streamer.cli.bench.fleet.watched import nearest_rank
from streamer.errors import FleetError
from streamer.fleet.simulated import SimulatedFleet
from streamer.fleet.view import FleetView
from streamer.wire.messages import TOPIC_PREFIX, TopicKind

MEASURED_S = 8.0
READERS = 32
READER_HZ = 30.0
_START_S = 120.0
_SETTLE_S = 1.0
_LOOK_S = 0.1
# Takes what a message is known by, the same for each of its readers.
Note = Callable[[Hashable], None]
Read = Callable[[str, Note], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class GatewayCost:
    """``delay`` is from a message's arrival from its worker to its arrival from the gateway.

    ``core_share`` is that of one reader at ``READER_HZ``, from the ``read`` messages of all.
    """

    way: str
    messages: int
    delay_p50_s: float | None
    delay_p99_s: float | None
    readers: int
    read: int
    core_share: float | None


async def measured_gateway(simulated: SimulatedFleet, workers: int, log: Path) -> list[GatewayCost]:
    """Measure with every stream running. Raises ``FleetError`` if the gateway does not begin."""
    view = await simulated.all_running(workers)
    async with _gateway(simulated.name, log) as (process, page, results):
        publishers = [each.zeromq for each in view.workers if each.zeromq is not None]
        zeromq = await _cost("ZeroMQ", _zeromq, publishers, [results], process.pid)
        view = await simulated.all_running(workers)  # an overloaded worker has given streams away
        pages = _pages(view, page)
        return [zeromq, await _cost("WebSocket", _websocket, *pages, process.pid)]


def _pages(view: FleetView, page: str) -> tuple[list[str], list[str]]:
    """Where each stream's results are: at its worker, and at the gateway."""
    at = {each.worker_id: each.http for each in view.workers}
    paths = {each.stream_id: f"/v1/streams/{each.stream_id}/results" for each in view.streams}
    return (
        [f"{at[each.worker_id or '']}{paths[each.stream_id]}" for each in view.streams],
        [f"{page}{path}" for path in paths.values()],
    )


class _Seen:
    """Messages that arrived: how many, and when each arrived first."""

    def __init__(self) -> None:
        self.count = 0
        self.at_s: dict[Hashable, float] = {}

    def clear(self) -> None:
        """Begin anew."""
        self.count = 0
        self.at_s.clear()

    def note(self, key: Hashable) -> None:
        """Add one."""
        self.count += 1
        self.at_s.setdefault(key, time.perf_counter())


async def _cost(
    way: str, read: Read, direct: Sequence[str], through: Sequence[str], process: int
) -> GatewayCost:
    first, second, many = _Seen(), _Seen(), _Seen()
    further = islice(cycle(through), READERS)
    # One that reads a stream at its worker ends when the stream moves: no delays of it then.
    at_workers = [asyncio.create_task(read(address, first.note)) for address in direct]
    tasks = [asyncio.create_task(read(address, second.note)) for address in through]
    try:
        alone_s = await _used_s(process, tasks, {first: 1, second: 1})
        delays = [second.at_s[key] - first.at_s[key] for key in first.at_s.keys() & second.at_s]
        tasks += [asyncio.create_task(read(address, many.note)) for address in further]
        used_s = await _used_s(process, tasks, {many: READERS})
    finally:
        for each in (*at_workers, *tasks):
            each.cancel()
        await asyncio.gather(*at_workers, *tasks, return_exceptions=True)
    return GatewayCost(
        way,
        len(delays),
        nearest_rank(delays, 0.5),
        nearest_rank(delays, 0.99),
        READERS,
        many.count,
        max(0.0, used_s - alone_s) / many.count * READER_HZ if many.count else None,
    )


async def _used_s(
    process: int, tasks: Sequence[asyncio.Task[None]], expected: Mapping[_Seen, int]
) -> float:
    """The process's processor seconds in ``MEASURED_S``, in which is seen what arrives.

    It begins once so many messages have arrived. Raises ``FleetError`` if they do not, and the
    error of a task that has ended.
    """
    deadline_s = time.monotonic() + _START_S
    while any(seen.count < count for seen, count in expected.items()):
        _raise_errors(tasks)
        if time.monotonic() > deadline_s:
            raise FleetError(f"no results came through the gateway within {_START_S:g} s")
        await asyncio.sleep(_LOOK_S)
    await asyncio.sleep(_SETTLE_S)
    for seen in expected:
        seen.clear()
    used_s = _processor_s(process)
    await asyncio.sleep(MEASURED_S)
    used_s = _processor_s(process) - used_s
    _raise_errors(tasks)
    return used_s


def _raise_errors(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _zeromq(endpoint: str, note: Note) -> None:
    topic = f"{TOPIC_PREFIX}{TopicKind.FRAME}/"
    with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as reader:
        reader.linger = 0
        reader.connect(endpoint)
        reader.subscribe(topic.encode())
        while True:
            note((await reader.recv_multipart())[1])


async def _websocket(address: str, note: Note) -> None:
    async with connect(address.replace("http", "ws", 1), proxy=None) as reader:
        async for text in reader:
            message = json.loads(text)
            if message["type"] == TopicKind.FRAME:
                note((message["stream_id"], message["frame_index"]))


@asynccontextmanager
async def _gateway(name: str, log: Path) -> AsyncIterator[tuple[Process, str, str]]:
    import ray

    address: str = ray.get_runtime_context().gcs_address
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamer.cli.main", "fleet", "gateway", "--json",
            "--name", name, "--address", address, "api.port=0", "zeromq.endpoint=tcp://127.0.0.1:*",
            stdout=PIPE, stderr=said,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        if not line:
            raise FleetError(f"the gateway did not begin; {log} says why")
        addresses = json.loads(line)
        yield process, addresses["page"], addresses["results"]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _processor_s(process: int) -> float:
    """The processor time of all threads of a process."""
    used_ns = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):  # it has ended
            used_ns += int((task / "schedstat").read_text().split()[0])
    return used_ns / 1e9

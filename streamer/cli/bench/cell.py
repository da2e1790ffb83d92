"""One cell of ``masklet bench``: the real daemon with some streams and objects, and a reader."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamer.app import App
from streamer.cli.bench.frames import BenchFrame, BenchSource, bench_stream
from streamer.cli.bench.search import Cell
from streamer.config.schema import ControlConfig, MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.errors import MaskletError
from streamer.runtime.address import Address
from streamer.sources.base import Source
from streamer.streams.stream import MakeSource
from tracker import Tracker

SETTLE_S = 1.0
START_S = 15.0  # a machine that does not track everything by then is measured anyway
_READER_MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class CellResult:
    """The measurements of a cell. Latencies run from a frame's capture to the reader."""

    streams: int
    objects: int
    frames: int
    frames_per_s: float
    lost_share: float
    latency_p50_ms: float
    latency_p99_ms: float
    step_p50_ms: float
    step_p99_ms: float

    @property
    def cell(self) -> Cell:
        """The cell that was measured."""
        return Cell(self.objects, self.streams)

    def is_carried(self, objective_p99_ms: float, lost_share: float) -> bool:
        """Whether (nearly) all results arrived within the objective."""
        return self.latency_p99_ms <= objective_p99_ms and self.lost_share <= lost_share


@dataclass(frozen=True, slots=True)
class CellRunner:
    """Measures cells one after the other with the same trackers, one for each device.

    ``clip``: a recording that every camera plays, ``frames`` its first picture.
    """

    config: MaskletConfig
    trackers: Sequence[Tracker]
    frames: list[BenchFrame]
    rate_hz: float
    cell_s: float
    clip: Path | None = None

    @property
    def longest_s(self) -> float:
        """The time limit of a cell, which one that never tracks all its objects takes."""
        return START_S + SETTLE_S + self.cell_s + 2.0

    async def measure(self, cell: Cell) -> CellResult:
        """Run the daemon with the streams of ``cell``, and read from it for ``cell_s``."""
        with tempfile.TemporaryDirectory(prefix="masklet-bench-") as folder:
            app = App(
                self._config(cell, Path(folder)),
                tracker=self.trackers,
                make_source=self._rendered(cell) if self.clip is None else None,
                fresh=True,
            )
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(app.run())
                try:
                    await _started(app, running)
                    return _result(cell, await self._read(app.endpoints.zeromq, cell), self.cell_s)
                finally:
                    app.request_stop()

    def _config(self, cell: Cell, folder: Path) -> MaskletConfig:
        config = self.config
        return config.changed(
            streams={f"s{number}": self._stream(number, cell) for number in range(cell.streams)},
            zeromq=config.zeromq.changed(endpoint=f"ipc://{folder}/results.sock"),
            control=ControlConfig(endpoint=f"ipc://{folder}/control.sock"),
            metrics=config.metrics.changed(enabled=False),
            api=config.api.changed(enabled=False),
            state_directory="none",
        )

    def _stream(self, number: int, cell: Cell) -> StreamConfig:
        stream = bench_stream(self.frames[number % len(self.frames)], cell.objects)
        if self.clip is None:
            return stream
        return stream.changed(url=Address.parse(str(self.clip)), loop=True)

    def _rendered(self, cell: Cell) -> MakeSource:
        def source(stream_id: str, _: StreamConfig) -> Source:
            number = int(stream_id.removeprefix("s"))
            first = number % len(self.frames)
            # Cameras are not synchronised.
            return BenchSource(self.frames, self.rate_hz, number / cell.streams, first)

        return source

    async def _read(self, endpoint: str, cell: Cell) -> dict[str, object]:
        given = (cell.streams, cell.objects, SETTLE_S, self.cell_s, START_S)
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streamer.cli.bench.reader", endpoint, *map(str, given),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self.longest_s + _READER_MARGIN_S):
                output, _ = await reader.communicate()
        finally:
            if reader.returncode is None:
                reader.kill()
                await reader.wait()
        if reader.returncode:
            raise MaskletError(f"the reader of the results failed, exit code {reader.returncode}")
        found: dict[str, object] = json.loads(output)
        return found


async def _started(app: App, running: asyncio.Task[int]) -> None:
    started = asyncio.ensure_future(app.started.wait())
    try:
        await asyncio.wait({started, running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        started.cancel()
    if running.done():
        await running
        raise MaskletError("the daemon ended by itself")


def _result(cell: Cell, found: dict[str, object], cell_s: float) -> CellResult:
    latencies, steps, dropped = found["latencies_ms"], found["steps_ms"], found["dropped"]
    assert isinstance(latencies, list)
    assert isinstance(steps, list)
    assert isinstance(dropped, int)
    is_complete = found["complete_streams"] == cell.streams
    return CellResult(
        streams=cell.streams,
        objects=cell.objects,
        frames=len(latencies),
        frames_per_s=len(latencies) / cell_s,
        # A stream that never tracked all its objects was not carried, however fast it was.
        lost_share=dropped / max(len(latencies) + dropped, 1) if is_complete else 1.0,
        latency_p50_ms=percentile(latencies, 0.5),
        latency_p99_ms=percentile(latencies, 0.99),
        step_p50_ms=percentile(steps, 0.5),
        step_p99_ms=percentile(steps, 0.99),
    )


def percentile(values: list[float], share: float) -> float:
    """The smallest value that ``share`` of all do not exceed; a billion if there is none.

    Infinity would be no JSON.
    """
    if not values:
        return 1e9
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]

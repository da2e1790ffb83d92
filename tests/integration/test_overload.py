"""Too many cameras for the tracker: overload is reported, rates drop, and it ends in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamer.app import App
from streamer.config.schema import OverloadConfig
from streamer.config.streams import StreamConfig
from tests.integration.test_live_path import running, settings
from tests.streamer.fakes import FakeTracker, RecordingSink

WAIT_S = 60
CAMERA = "synthetic://match?seed=3&width=160&height=96&rate_hz=20&players=2"


class SlowTracker(FakeTracker):
    """Takes 40 ms for every frame: 25 frames a second."""

    def step(self, batch: Sequence[Any]) -> Any:
        time.sleep(0.04 * len(batch))
        return super().step(batch)


def reasons(sink: RecordingSink, stream_id: str) -> list[str | None]:
    return [each.reason for each in sink.published.events(stream_id) if each.kind == "degraded"]


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.02)


async def test_overload_begins_ends_and_delays_no_end(tmp_path: Path) -> None:
    cameras = {
        f"cam{number}": StreamConfig(url=CAMERA, priority=9 if number == 0 else 5)
        for number in range(4)
    }
    overload = OverloadConfig(
        policy="priority_first", floor_hz=1.0, begin_after_s=1.0, end_after_s=1.0
    )
    config = settings(tmp_path, **cameras).changed(overload=overload)
    sink = RecordingSink()
    app = App(config, tracker=SlowTracker(), further_sinks=[sink])  # type: ignore[arg-type]
    async with running(app):
        await until(lambda: all(reasons(sink, f"cam{number}") for number in (1, 2, 3)))
        assert reasons(sink, "cam1") == ["overload"]
        exposition = app.metrics.exposition().decode()
        assert 'masklet_degraded{stream="cam1"} 1.0' in exposition
        before = {name: len(sink.published.results(name)) for name in cameras}
        await until(lambda: len(sink.published.results("cam0")) >= before["cam0"] + 40)
        tracked = {name: len(sink.published.results(name)) - before[name] for name in cameras}
        assert tracked["cam0"] > 2 * max(tracked["cam1"], tracked["cam2"], tracked["cam3"])
        assert min(tracked.values()) >= 1
        # Streams that come and go meanwhile: added, lowered, removed.
        await app.streams.add("guest", StreamConfig(url=CAMERA))
        await until(lambda: reasons(sink, "guest"))
        for name in ("guest", "cam2", "cam3"):
            await app.streams.remove(name)
        assert 'stream="guest"' not in app.metrics.exposition().decode()
        await app.streams.change("cam0", {"max_rate_hz": 2})
        await app.streams.change("cam1", {"max_rate_hz": 5})
        await until(lambda: reasons(sink, "cam1") == ["overload", "overload_ended"])
        assert 'masklet_degraded{stream="cam1"} 0.0' in app.metrics.exposition().decode()
        # Overloaded again, it ends in time all the same.
        for name in ("cam0", "cam1"):
            await app.streams.change(name, {"max_rate_hz": None})
        for number in range(6):
            await app.streams.add(f"more{number}", StreamConfig(url=CAMERA))
        await until(lambda: reasons(sink, "more5"))
        began_s = time.monotonic()
        app.request_stop()
        async with asyncio.timeout(WAIT_S):
            while not sink.closed:
                await asyncio.sleep(0.02)
        assert time.monotonic() - began_s < config.shutdown_timeout_s

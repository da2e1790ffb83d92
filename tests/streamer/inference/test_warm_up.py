"""Ready means warm: until then the daemon reports not ready, and can be stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from streamer.app import App
from streamer.config.streams import StreamConfig
from streamer.errors import BusyError, StreamExistsError
from tests.integration.test_live_path import settings
from tests.streamer.api.serving import WAIT_S, problem
from tests.streamer.fakes import FakeTracker

SMALL = "synthetic://match?seed=3&width=160&height=96&rate_hz=10"


class ColdTracker(FakeTracker):
    """Warm after two steps; each waits to be released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.let_go = threading.Semaphore(0)
        self.steps_done = 0

    def warm_up(self, progress: Callable[[int, int], None] | None = None) -> None:
        self.begun.set()
        for step in (1, 2):
            self.let_go.acquire(timeout=20)
            assert progress is not None
            progress(step, 2)
            self.steps_done = step


async def test_ready_only_once_warm(tmp_path: Path) -> None:
    tracker, reported = ColdTracker(), list[tuple[int, int]]()
    config = settings(tmp_path, gate=StreamConfig(url=SMALL))
    app = App(
        config,
        tracker=tracker,  # type: ignore[arg-type]
        warm_up_progress=lambda done, steps: reported.append((done, steps)),
    )
    running = asyncio.create_task(app.run())
    async with asyncio.timeout(WAIT_S), httpx.AsyncClient(timeout=WAIT_S) as client:
        while not tracker.begun.is_set() or app.endpoints.api is None:
            await asyncio.sleep(0.01)
        ready = f"{app.endpoints.api}/readyz"
        answer = problem(await client.get(ready), 503, "not_ready")
        assert answer["detail"] == "not running: warm-up"
        added = await client.post(f"{app.endpoints.api}/v1/streams", json={"id": "a", "url": SMALL})
        assert "warms up" in added.json()["detail"]
        tracker.let_go.release(2)
        await app.started.wait()
        assert (await client.get(ready)).json() == {"status": "ready"}
        assert reported == [(1, 2), (2, 2)]
        app.request_stop()
        assert await running == 0


class PutsOff(FakeTracker):
    """Has three rare calls left after its warm-up."""

    left = 3

    def warm_next(self) -> bool:
        self.left = max(self.left - 1, -1)
        return self.left >= 0


async def test_rare_calls_are_made_while_streams_run(tmp_path: Path) -> None:
    tracker = PutsOff()
    app = App(settings(tmp_path, gate=StreamConfig(url=SMALL)), tracker=tracker)  # type: ignore[arg-type]
    running = asyncio.create_task(app.run())
    async with asyncio.timeout(WAIT_S):
        await app.started.wait()
        while tracker.left >= 0 or not tracker.batch_sizes:
            await asyncio.sleep(0.01)
        app.request_stop()
        assert await running == 0


async def test_daemon_stops_while_it_warms_up(tmp_path: Path) -> None:
    tracker = ColdTracker()
    app = App(settings(tmp_path, gate=StreamConfig(url=SMALL)), tracker=tracker)  # type: ignore[arg-type]
    running = asyncio.create_task(app.run())
    async with asyncio.timeout(WAIT_S):
        await asyncio.to_thread(tracker.begun.wait)
        app.request_stop()
        tracker.let_go.release(1)
        assert await running == 0
        tracker.let_go.release(1)  # it may have been in its second step at the stop
        while "inference" in [thread.name for thread in threading.enumerate()]:
            await asyncio.sleep(0.01)
    assert not app.started.is_set()
    assert tracker.steps_done < 2


async def test_stream_of_the_file_that_is_added_while_it_begins_is_not_begun_twice(
    tmp_path: Path,
) -> None:
    tracker = ColdTracker()
    streams = {name: StreamConfig(url=SMALL) for name in ("gate", "hall", "yard")}
    app = App(settings(tmp_path, **streams), tracker=tracker)  # type: ignore[arg-type]
    running = asyncio.create_task(app.run())
    async with asyncio.timeout(WAIT_S):
        await asyncio.to_thread(tracker.begun.wait)
        tracker.let_go.release(2)

        async def add() -> str:
            while True:
                try:
                    await app.streams.add("yard", StreamConfig(url=SMALL))
                except BusyError:
                    await asyncio.sleep(0)
                except StreamExistsError as error:
                    return str(error)
                else:
                    return "was begun twice"

        assert "already" in await add()
        await app.started.wait()
        assert [each.stream_id for each in app.streams.statuses()] == ["gate", "hall", "yard"]
        app.request_stop()
        assert await running == 0

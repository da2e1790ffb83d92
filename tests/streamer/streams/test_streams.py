"""The streams of a daemon, over an inference thread with a fake tracker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.errors import BusyError
from streamer.inference.device import Device
from streamer.runtime.clock import SystemClock
from streamer.sources import make_source
from streamer.streams.state.keeper import Restored
from streamer.streams.streams import Streams
from tests.streamer.inference.rig import Rig, running


@asynccontextmanager
async def one_stream(*rigs: Rig) -> AsyncIterator[Streams]:
    """A stream that is tracked by the first of these."""

    async def end_publishing(_: str) -> None: ...

    rig = rigs[0]
    streams = Streams(
        MaskletConfig(),
        maximum=4,
        make_source=make_source,
        end_publishing=end_publishing,
        devices=[Device("cpu", each.inference.commands) for each in rigs],
        publish=rig.published,
        state=None,
        metrics=rig.metrics,
        clock=SystemClock(),
    )
    async with asyncio.TaskGroup() as tasks:
        await streams.start(tasks, Restored({}))
        await streams.add("gate", StreamConfig(url="synthetic://match", max_objects=8, paused=True))
        yield streams
        await streams.stop("over")


@pytest.mark.parametrize("free", [0, 1, 2])
async def test_change_for_which_the_tracker_is_too_busy_changes_nothing(
    free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``free``: the number of commands accepted and executed before the queue is full."""
    wanted = {"max_objects": 3, "priority": 5, "smoothing": {"masks": 0.3}, "max_rate_hz": 9}
    with running(Rig()) as rig:
        async with one_stream(rig) as streams:
            before = streams.config("gate")
            add, asked = rig.inference._queue.add, []

            def add_while_free(action: Callable[[], Any]) -> Future[Any]:
                asked.append(action)
                if len(asked) > free:
                    raise BusyError("full")
                return add(action)

            monkeypatch.setattr(rig.inference._queue, "add", add_while_free)
            try:
                await streams.change("gate", wanted)
            except BusyError:
                assert streams.config("gate") == before
                assert rig.tracker.sessions[0].max_objects == 8
            else:
                assert streams.config("gate").max_rate_hz == 9
                assert rig.tracker.sessions[0].max_objects == 3
            monkeypatch.undo()


async def test_pausing_asks_nothing_of_the_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Rig()) as rig:
        async with one_stream(rig) as streams:
            monkeypatch.setattr(rig.inference._queue, "add", None)
            await streams.resume("gate")
            await streams.pause("gate")
            assert streams.config("gate").paused
            monkeypatch.undo()


async def test_streams_are_divided_among_the_devices_and_stay_where_they_are() -> None:
    with running(Rig()) as first, running(Rig()) as second:
        async with one_stream(first, second) as streams:
            for name in ("yard", "hall", "roof"):
                await streams.add(name, StreamConfig(url="synthetic://match", paused=True))
            trackers = [list(rig.inference._streams) for rig in (first, second)]
            assert trackers == [["gate", "hall"], ["yard", "roof"]]
            await streams.remove("yard")
            await streams.remove("roof")
            await streams.change("gate", {"max_objects": 3})
            await streams.add("door", StreamConfig(url="synthetic://match", paused=True))
            assert list(second.inference._streams) == ["door"]
            assert first.inference._streams["gate"].session.max_objects == 3
            assert streams.commands("door") is second.inference.commands
            assert streams.live(["gate", "door"]) == 0

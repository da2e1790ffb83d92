"""Every sink has its own pace, and its own losses."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streamer.errors import WireError
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from streamer.sinks.fanout import EVENTS_KEPT, Fanout, SinkQueue
from streamer.types import EventKind, Frame, FrameResult, StreamEvent
from tests.streamer.fakes import RecordingSink, picture


def result(stream_id: str, index: int) -> FrameResult:
    return FrameResult(
        frame=Frame(stream_id, "session", index, picture(index)),
        started_monotonic_ns=0,
        tracked_monotonic_ns=0,
        objects=(),
    )


def event(number: int) -> StreamEvent:
    return StreamEvent("gate", EventKind.ADDED, time_ns=number)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"masklet_{name}", labels) or 0.0


@asynccontextmanager
async def running(fanout: Fanout) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        fanout.start(tasks)
        yield
        await fanout.drain(timeout_s=10)


async def until(condition: object) -> None:
    async with asyncio.timeout(20):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_items_reach_every_sink_in_order() -> None:
    sinks = RecordingSink("one"), RecordingSink("two")
    fanout = Fanout(sinks, Metrics(), SystemClock())
    items = [event(1), result("gate", 0), event(2), result("yard", 0)]
    async with running(fanout):
        for item in items:
            fanout.publish(item)
    assert sinks[0].published.items == items
    assert sinks[1].published.items == items


async def test_slow_sink_does_not_delay_fast_sink_and_keeps_the_newest_frame() -> None:
    metrics = Metrics()
    slow, fast = RecordingSink("slow"), RecordingSink("fast")
    fanout = Fanout([slow, fast], metrics, SystemClock())
    slow.gate.clear()
    async with running(fanout):
        for index in range(50):
            fanout.publish(result("gate", index))
            fanout.publish(event(index))
            await until(lambda: len(fast.published.items) == 2 * (index + 1))  # noqa: B023
        assert slow.published.items == []
        slow.gate.set()
    assert [each.frame.index for each in slow.published.results()] == [0, 49]
    assert [each.time_ns for each in slow.published.events()] == list(range(50))
    assert value(metrics, "sink_items_dropped_total", sink="slow", kind="frame") == 48
    assert value(metrics, "sink_items_dropped_total", sink="fast", kind="frame") == 0


async def test_one_streams_frames_do_not_push_out_anothers() -> None:
    queue = SinkQueue("sink", Metrics())
    yard, gate = result("yard", 0), [result("gate", index) for index in range(100)]
    for each in [yard, *gate]:
        queue.put(each)
    queue.close()
    assert [await queue.get(), await queue.get()] == [yard, gate[99]]
    assert await queue.get() is None


async def test_queue_is_bounded_and_drops_the_oldest_event_first() -> None:
    metrics = Metrics()
    queue = SinkQueue("sink", metrics)
    frame = result("gate", 0)
    queue.put(frame)
    for number in range(EVENTS_KEPT + 10):
        queue.put(event(number))
    assert len(queue) == EVENTS_KEPT + 1
    assert value(metrics, "sink_items_dropped_total", sink="sink", kind="event") == 10
    assert await queue.get() == frame
    assert await queue.get() == event(10)


async def test_other_threads_may_publish() -> None:
    sink = RecordingSink()
    fanout = Fanout([sink], Metrics(), SystemClock())
    async with running(fanout):
        threads = [
            threading.Thread(target=lambda: [fanout.publish(event(n)) for n in range(100)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        await until(lambda: len(sink.published.items) == 400)
        for thread in threads:
            thread.join()


async def test_item_that_cannot_be_sent_is_counted_and_the_sink_continues() -> None:
    metrics = Metrics()
    sink = RecordingSink()
    fanout = Fanout([sink], metrics, SystemClock())
    async with running(fanout):
        sink.error = WireError("too large")
        fanout.publish(event(1))
        await until(lambda: value(metrics, "sink_errors_total", sink="recording") == 1)
        sink.error = None
        fanout.publish(event(2))
    assert sink.published.items == [event(2)]


async def test_drain_leaves_a_sink_that_hangs() -> None:
    sink = RecordingSink()
    sink.gate.clear()
    fanout = Fanout([sink], Metrics(), SystemClock())
    async with asyncio.TaskGroup() as tasks:
        fanout.start(tasks)
        fanout.publish(event(1))
        await fanout.drain(timeout_s=0.05)
    assert sink.published.items == []

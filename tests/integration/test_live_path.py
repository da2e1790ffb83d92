"""From a source to a consumer's socket: the whole daemon in one process, on loopback."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from streamer.app import App
from streamer.client import Access, ApiClient, Subscriber
from streamer.config.network import ApiConfig
from streamer.config.schema import ControlConfig, MaskletConfig, MetricsConfig, ZeroMQConfig
from streamer.config.streams import ObjectConfig, ReconnectConfig, StreamConfig
from streamer.errors import ConfigError, ControlError, SourceError, SourceFailure
from streamer.sources import Source, SourceOutput, make_source
from streamer.types import StreamState
from streamer.wire.messages import EventMessage, FrameMessage, StatusMessage
from tests.conftest import find_free_port
from tests.streamer.fakes import FakeTracker, RecordingSink, ScriptedSource, picture, sources
from tracker import Prompt, Tracker

SMALL = "synthetic://match?seed=3&width=160&height=96&rate_hz=10"
LEFT_HALF = [0.0, 0.0, 80.0, 96.0]
WAIT_S = 40.0


def settings(folder: Path, **streams: StreamConfig) -> MaskletConfig:
    """Any free ports, quick retries."""
    quick = ReconnectConfig(initial_s=0.05, maximum_s=0.2)
    return MaskletConfig(
        streams={name: each.changed(reconnect=quick) for name, each in streams.items()},
        zeromq=ZeroMQConfig(endpoint="tcp://127.0.0.1:*"),
        metrics=MetricsConfig(port=0),
        api=ApiConfig(port=0),
        control=ControlConfig(endpoint=f"ipc://{folder}/control.sock"),
        heartbeat_s=0.2,
        status_s=0.2,
    )


@asynccontextmanager
async def running(app: App) -> AsyncIterator[App]:
    """The daemon, started; stopped afterwards, and its exit code checked."""
    run = asyncio.create_task(app.run())
    started = asyncio.create_task(app.started.wait())
    await asyncio.wait({run, started}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if run.done():
        await run
    try:
        yield app
    finally:
        app.request_stop()
        async with asyncio.timeout(WAIT_S):
            assert await run == 0


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def receive(subscriber: Subscriber, enough: Callable[[list[object]], object]) -> list[object]:
    """Messages until there are enough of them."""
    messages: list[object] = []
    async with asyncio.timeout(WAIT_S):
        async for message in subscriber:
            messages.append(message)
            if enough(messages):
                return messages
    raise AssertionError("the iteration never ends by itself")


def frames(messages: list[object], stream_id: str) -> list[FrameMessage]:
    return [m for m in messages if isinstance(m, FrameMessage) and m.stream_id == stream_id]


def event_kinds(messages: list[object], stream_id: str) -> list[str]:
    return [m.kind for m in messages if isinstance(m, EventMessage) and m.stream_id == stream_id]


def reported_streams(messages: list[object]) -> set[str]:
    """The streams that published a status."""
    return {m.stream_id for m in messages if isinstance(m, StatusMessage)}


async def page(app: App) -> str:
    endpoint = app.endpoints.metrics
    assert endpoint is not None

    def fetch() -> str:
        with urllib.request.urlopen(endpoint, timeout=WAIT_S) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(fetch)


@pytest.fixture(scope="module")
def nano() -> Tracker:
    """The embedded model's shape, with random weights."""
    return Tracker.random("nano", seed=0)


async def test_masks_of_several_streams_reach_a_subscriber(tmp_path: Path, nano: Tracker) -> None:
    config = settings(
        tmp_path,
        gate=StreamConfig(url=SMALL, objects=[ObjectConfig(id=1, label="keeper", box=LEFT_HALF)]),
        yard=StreamConfig(
            url=SMALL.replace("seed=3", "seed=4"),
            objects=[
                ObjectConfig(id=1, points=[[20, 30]]),
                ObjectConfig(id=5, box=LEFT_HALF, at_frame=2),
            ],
        ),
        empty=StreamConfig(url=SMALL),
    )
    async with running(App(config, tracker=nano)) as app:
        with Subscriber(app.endpoints.zeromq) as subscriber:
            messages = await receive(
                subscriber,
                lambda seen: all(len(frames(seen, name)) >= 4 for name in config.streams),
            )
        gate = frames(messages, "gate")[-1]
        assert [(each.id, each.label) for each in gate.objects] == [(1, "keeper")]
        mask = gate.mask(gate.objects[0])
        assert mask.shape == (96, 160)
        assert int(mask.sum()) == gate.objects[0].area
        assert [each.id for each in frames(messages, "yard")[-1].objects] == [1, 5]
        assert frames(messages, "empty")[-1].objects == []
        assert any(isinstance(m, StatusMessage) and m.state == "live" for m in messages)
        text = await page(app)
        assert 'masklet_stream_up{stream="yard"} 1.0' in text
        assert 'masklet_prompts_total{result="applied"} 3.0' in text
        checked = await asyncio.to_thread(
            subprocess.run,
            ["promtool", "check", "metrics"],
            input=text.encode(),
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


async def test_stream_that_fails_is_alone_in_its_failure(tmp_path: Path, nano: Tracker) -> None:
    config = settings(
        tmp_path,
        good=StreamConfig(url=SMALL, objects=[ObjectConfig(id=1, box=LEFT_HALF)]),
        refused=StreamConfig(url=f"rtsp://user:hunter2@127.0.0.1:{find_free_port()}/x"),
        nowhere=StreamConfig(url=str(tmp_path / "missing.mp4")),
    )
    async with running(App(config, tracker=nano)) as app:
        with Subscriber(app.endpoints.zeromq) as subscriber:
            messages = await receive(
                subscriber,
                lambda seen: (
                    len(frames(seen, "good")) >= 5
                    and {m.stream_id for m in seen if isinstance(m, StatusMessage)}
                    == {*config.streams}
                ),
            )
        states = {status.stream_id: status for status in app.streams.statuses()}
        assert states["good"].state is StreamState.LIVE
        assert states["refused"].state is StreamState.RETRYING
        assert states["refused"].reason == SourceFailure.REFUSED
        assert states["nowhere"].reason == SourceFailure.NOT_FOUND
        assert "hunter2" not in str(states) + str(messages) + await page(app)


async def test_slow_sink_delays_no_other(tmp_path: Path) -> None:
    slow = RecordingSink("slow")
    slow.gate.clear()
    config = settings(tmp_path, gate=StreamConfig(url=SMALL))
    app = App(config, tracker=FakeTracker(), further_sinks=[slow])  # type: ignore[arg-type]
    async with running(app):
        with Subscriber(app.endpoints.zeromq, topics=("frame",)) as subscriber:
            messages = await receive(subscriber, lambda seen: len(seen) >= 8)
        assert slow.published.items == []
        indexes = [message.header.frame_index for message in frames(messages, "gate")]
        assert indexes == sorted(set(indexes))  # a busy machine may leave some out
        await until(lambda: app.metrics.sink_items_dropped.labels("slow", "frame")._value.get() > 5)
        slow.gate.set()
    assert slow.closed
    assert len(slow.published.results("gate")) >= 1


async def test_file_played_as_fast_as_possible_reaches_every_sink_whole(tmp_path: Path) -> None:
    total = 200

    def plays(output: SourceOutput, _stop: threading.Event) -> None:
        for number in range(total):
            output.frame(picture(number))

    sink = RecordingSink()
    sink.gate.clear()
    app = App(
        settings(tmp_path, clip=StreamConfig(url=SMALL)),
        tracker=FakeTracker(),  # type: ignore[arg-type]
        further_sinks=[sink],
        make_source=sources(plays, lossless=True),
    )
    async with running(app):
        await until(lambda: app.streams.statuses()[0].frames_tracked >= 1)
        sink.gate.set()
        await until(lambda: app.streams.statuses()[0].state is StreamState.ENDED)
    assert [result.frame.picture.pts for result in sink.published.results()] == list(range(total))


@pytest.mark.own_process  # what other tests hold or free would count here
async def test_overload_drops_frames_counts_them_and_holds_no_memory(tmp_path: Path) -> None:
    """A source far faster than the tracker: 1500 frames of 0.7 MB, of which few are tracked."""
    total, process = 1500, psutil.Process()
    tracker = FakeTracker()
    resident: list[int] = []
    finished = threading.Event()

    def floods(output: SourceOutput, stop: threading.Event) -> None:
        for number in range(total):
            output.frame(picture(number, width=640, height=360))
            if number % 100 == 0:
                resident.append(process.memory_info().rss)
            if stop.is_set():
                return
        finished.set()
        stop.wait(WAIT_S)

    slow = RecordingSink("slow")
    slow.gate.clear()
    app = App(
        settings(tmp_path, gate=StreamConfig(url=SMALL)),
        tracker=tracker,  # type: ignore[arg-type]
        further_sinks=[slow],
        make_source=sources(floods),
    )
    async with running(app):
        await until(finished.is_set)
        await until(lambda: app.streams.statuses()[0].frames_tracked > 0)
        await until(lambda: _accounted(app) == total)
        assert max(resident) - resident[1] < 100e6
        assert app.streams.statuses()[0].frames_dropped.keys() <= {"superseded"}


def _accounted(app: App) -> int:
    status = app.streams.statuses()[0]
    return status.frames_tracked + sum(status.frames_dropped.values())


async def test_camera_that_returns_keeps_its_objects(tmp_path: Path) -> None:
    def breaks(output: SourceOutput, stop: threading.Event) -> None:
        for number in range(3):
            output.frame(picture(number))
            stop.wait(0.05)
        raise SourceError(SourceFailure.TIMEOUT, "gate: no packet for 5.0 s")

    def stays(output: SourceOutput, stop: threading.Event) -> None:
        number = 3
        while not stop.wait(0.05):
            output.frame(picture(number))
            number += 1

    sink = RecordingSink()
    app = App(
        settings(
            tmp_path,
            gate=StreamConfig(
                url=SMALL, objects=[ObjectConfig(id=7, label="bag", points=[[1, 1]])]
            ),
        ),
        tracker=FakeTracker(),  # type: ignore[arg-type]
        further_sinks=[sink],
        make_source=sources(breaks, breaks, stays),  # the first is made to check the setting
    )
    async with running(app):
        await until(lambda: len({r.frame.session_id for r in sink.published.results()}) == 2)
    results = sink.published.results()
    assert all([each.track.object_id for each in r.objects] == [7] for r in results)
    kinds = sink.published.event_kinds()
    assert kinds.count("prompt_applied") == kinds.count("added") == 1
    assert kinds.count("stream_up") == 2
    assert kinds.index("stream_down") < len(kinds) - 1
    assert "lost" not in kinds
    indexes = [r.frame.index for r in results]
    assert indexes == sorted(set(indexes))


async def test_prompts_from_python_while_running(tmp_path: Path, nano: Tracker) -> None:
    config = settings(tmp_path, gate=StreamConfig(url=SMALL, max_objects=2))
    async with running(App(config, tracker=nano)) as app:
        outcome = await app.objects.prompt("gate", Prompt(3, box_xyxy=(10, 10, 60, 60)), "ball")
        assert outcome.applied
        assert outcome.track is not None
        assert outcome.track.object_id == 3
        outside = await app.objects.prompt(
            "gate", Prompt(4, points_xy=((9999, 1),), point_labels=(1,))
        )
        assert not outside.applied
        assert outside.reason
        both = await asyncio.gather(
            app.objects.prompt("gate", Prompt(5, box_xyxy=(10, 10, 60, 60))),
            app.objects.prompt("gate", Prompt(6, box_xyxy=(10, 10, 60, 60))),
        )
        assert sorted(outcome.applied for outcome in both) == [False, True]
        with pytest.raises(ControlError, match="no stream 'yard'; streams here: gate"):
            await app.objects.prompt("yard", Prompt(1, box_xyxy=(1, 1, 9, 9)))
        await app.objects.remove("gate", 3)
        await until(lambda: len(app.streams.statuses()[0].object_ids) == 1)
        with pytest.raises(ControlError, match="has no object 3"):
            await app.objects.remove("gate", 3)


async def test_prompt_without_a_frame_is_withdrawn_in_time(tmp_path: Path) -> None:
    def silent(_output: SourceOutput, stop: threading.Event) -> None:
        stop.wait(WAIT_S)

    app = App(
        settings(tmp_path, gate=StreamConfig(url=SMALL)),
        tracker=FakeTracker(),  # type: ignore[arg-type]
        make_source=sources(silent),
    )
    async with running(app):
        outcome = await app.objects.prompt("gate", Prompt(1, box_xyxy=(0, 0, 5, 5)), timeout_s=0.1)
    assert not outcome.applied
    assert "no frame came within 0.1 s; the stream is connecting" in str(outcome.reason)


async def test_streams_are_added_and_removed_without_touching_others(tmp_path: Path) -> None:
    blocked, reading = threading.Event(), threading.Event()

    def blocks(_output: SourceOutput, _stop: threading.Event) -> None:
        reading.set()
        blocked.wait(WAIT_S)

    def make(stream_id: str, config: StreamConfig) -> Source:
        if stream_id == "blocked":
            return ScriptedSource(blocks)
        return make_source(stream_id, config)

    sink = RecordingSink()
    app = App(
        settings(tmp_path, gate=StreamConfig(url=SMALL)),
        tracker=FakeTracker(),  # type: ignore[arg-type]
        further_sinks=[sink],
        make_source=make,
    )
    async with running(app):
        for round_number in range(3):
            yard = StreamConfig(url=SMALL, objects=[ObjectConfig(id=1, box=LEFT_HALF)])
            await app.streams.add("yard", yard)
            await until(lambda: sink.published.results("yard"))
            await app.streams.remove("yard")
            assert sink.published.event_kinds("yard")[-2:] == ["stream_down", "removed"]
            sink.published.items.clear()
            assert [status.stream_id for status in app.streams.statuses()] == ["gate"], round_number
            assert "yard" not in await page(app)
        with pytest.raises(ControlError, match="already"):
            await app.streams.add("gate", StreamConfig(url=SMALL))
        with pytest.raises(ConfigError, match=r"streams\.bad\.url"):
            await app.streams.add_from("bad", {"url": "ftp://x"})
        await app.streams.add("blocked", StreamConfig(url="synthetic://match"))
        await until(reading.is_set)
        began = time.monotonic()
        await app.streams.remove("blocked")
        assert time.monotonic() - began < 3.0  # 0.8 s on an idle machine
        assert "masklet_source_threads_detached 1.0" in await page(app)
        blocked.set()
        before = len(sink.published.results("gate"))
        await until(lambda: len(sink.published.results("gate")) > before)


async def test_stopping_is_published_and_everything_is_given_back(tmp_path: Path) -> None:
    config = settings(tmp_path, gate=StreamConfig(url=SMALL))
    for _ in range(2):  # the second run finds every address free
        app = App(config, tracker=FakeTracker())  # type: ignore[arg-type]
        run = asyncio.create_task(app.run())
        async with asyncio.timeout(WAIT_S):
            await app.started.wait()
        config = config.changed(zeromq=ZeroMQConfig(endpoint=app.endpoints.zeromq))
        with Subscriber(config.zeromq.endpoint) as subscriber:
            await receive(subscriber, lambda seen: len(frames(seen, "gate")) >= 1)
            app.request_stop()
            last: list[object] = []
            async with asyncio.timeout(WAIT_S):
                while not subscriber.publisher_stopping:
                    last.append(await subscriber.receive_async(timeout_s=0.2))
            # Once when it stopped, and again when the time for all statuses comes before the end.
            stopped = [m for m in last if isinstance(m, StatusMessage) and m.state == "stopped"]
            assert {(each.stream_id, each.reason) for each in stopped} == {("gate", "shutdown")}
        assert await run == 0
        assert not Path(config.control.endpoint.removeprefix("ipc://")).exists()
    names = [thread.name for thread in threading.enumerate()]
    assert "inference" not in names
    assert not [name for name in names if name.startswith("source-")]


async def test_error_of_the_device_ends_the_daemon(tmp_path: Path) -> None:
    tracker = FakeTracker()
    app = App(settings(tmp_path, gate=StreamConfig(url=SMALL)), tracker=tracker)  # type: ignore[arg-type]
    run = asyncio.create_task(app.run())
    async with asyncio.timeout(WAIT_S):
        await app.started.wait()
        tracker.fatal = AssertionError("an invariant of ours is broken")
        with pytest.raises(ExceptionGroup) as raised:
            await run
    assert raised.group_contains(AssertionError, match="invariant")


async def test_address_that_is_taken_ends_the_start_with_its_key(tmp_path: Path) -> None:
    first = App(settings(tmp_path), tracker=FakeTracker())  # type: ignore[arg-type]
    async with running(first):
        taken = settings(tmp_path / "other")
        taken = taken.changed(zeromq=ZeroMQConfig(endpoint=first.endpoints.zeromq))
        with pytest.raises(ExceptionGroup) as raised:
            await App(taken, tracker=FakeTracker()).run()  # type: ignore[arg-type]
        assert raised.group_contains(ConfigError, match=r"zeromq\.endpoint")
        same_socket = settings(tmp_path)
        with pytest.raises(ExceptionGroup) as raised:
            await App(same_socket, tracker=FakeTracker()).run()  # type: ignore[arg-type]
        assert raised.group_contains(ConfigError, match="another process listens there")
        client = ApiClient(Access(control=same_socket.control.endpoint))
        assert await asyncio.to_thread(client.get, "/v1/streams") == {"streams": []}

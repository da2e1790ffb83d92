"""A stream keeps its source connected, and stops at once on request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from streamer.config.streams import ReconnectConfig, StreamConfig
from streamer.errors import ConfigError, SourceError, SourceFailure
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from streamer.sources.base import Source, SourceOutput
from streamer.sources.read_deadline import ReadDeadline
from streamer.streams.stream import Stream
from streamer.types import DropReason, EventKind, StreamState, StreamStatus
from tests.streamer.fakes import Journal, Script, ScriptedSource, picture, sources


class Rig:
    """A stream with everything around it that it talks to."""

    def __init__(
        self, make_source: Callable[[str, StreamConfig], Source], **settings: object
    ) -> None:
        reconnect = ReconnectConfig(initial_s=0.05, maximum_s=0.1, jitter=0)
        config = StreamConfig(url="rtsp://user:secret@x", reconnect=reconnect).changed(**settings)
        self.config = config
        self.metrics = Metrics()
        self.published = Journal()
        self.counts = StreamCounts("gate", self.metrics)
        self.slot = FrameSlot("gate", lambda: None, self.counts.dropped)
        self.stream = Stream(
            "gate",
            config,
            make_source=make_source,
            slot=self.slot,
            counts=self.counts,
            publish=self.published,
            metrics=self.metrics,
            clock=SystemClock(),
            random=Random(1),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.stream.run())
            yield
            self.stream.request_stop("shutdown")
            await task

    def value(self, name: str, **labels: str) -> float:
        sample = self.metrics.registry.get_sample_value(f"masklet_{name}", labels)
        return 0.0 if sample is None else sample

    def kinds(self) -> list[str]:
        return self.published.event_kinds()

    def statuses(self) -> list[StreamStatus]:
        return [item for item in self.published.items if isinstance(item, StreamStatus)]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def plays(*numbers: int, then: Script | None = None) -> Script:
    """Delivers pictures, then waits to be stopped, or does ``then``."""

    def script(output: SourceOutput, stop: threading.Event) -> None:
        for number in numbers:
            output.frame(picture(number))
        if then is None:
            stop.wait(30)
        else:
            then(output, stop)

    return script


def fails(reason: SourceFailure, message: str = "gate: broken") -> Script:
    def script(output: SourceOutput, stop: threading.Event) -> None:
        raise SourceError(reason, message)

    return script


def ends(output: SourceOutput, stop: threading.Event) -> None:
    return


async def test_stream_is_live_from_its_first_frame_and_stops_on_request() -> None:
    rig = Rig(sources(plays(0)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        status = rig.stream.status()
        assert (status.width, status.height, status.frames_decoded) == (32, 24, 1)
        assert rig.value("stream_up", stream="gate") == 1
    assert rig.kinds() == ["stream_up", "stream_down"]
    assert rig.published.events()[-1].reason == "shutdown"
    assert rig.stream.state is StreamState.STOPPED
    assert rig.value("stream_up", stream="gate") == 0
    reported = [(status.state, status.reason) for status in rig.statuses()]
    assert reported == [("live", None), ("stopped", "shutdown")]


async def test_failed_stream_is_retried_and_reports_the_reason_once() -> None:
    refused = fails(SourceFailure.REFUSED, "gate: connection refused")
    rig = Rig(sources(refused, refused, refused, plays(0)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
    assert rig.kinds() == ["stream_down", "stream_up", "stream_down"]
    down = rig.published.events()[0]
    assert (down.reason, down.detail) == ("refused", "connection refused")
    assert rig.value("stream_connect_failures_total", stream="gate", reason="refused") == 3
    assert rig.value("stream_reconnects_total", stream="gate") == 3
    assert rig.statuses()[0].state is StreamState.RETRYING
    assert rig.statuses()[-1].connect_failures == 3


async def test_new_reason_is_reported() -> None:
    rig = Rig(sources(fails(SourceFailure.REFUSED), fails(SourceFailure.UNAUTHORISED), plays(0)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
    assert [event.reason for event in rig.published.events()[:2]] == ["refused", "unauthorised"]


async def test_each_connection_has_its_own_session_and_indexes_continue() -> None:
    rig = Rig(sources(plays(0, then=fails(SourceFailure.TIMEOUT)), plays(1)))
    async with rig.running():
        await until(lambda: rig.stream.status().frames_decoded == 1)
        first = rig.slot.take()
        await until(lambda: rig.stream.status().frames_decoded == 2)
        second = rig.slot.take()
    assert first is not None
    assert second is not None
    assert first.session_id != second.session_id
    assert (first.index, second.index) == (0, 1)


async def test_source_that_returns_has_ended_and_is_not_tried_again() -> None:
    rig = Rig(sources(plays(0, then=ends)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        rig.slot.take()  # the last frame is waited for
        await until(lambda: rig.stream.state is StreamState.ENDED)
        assert rig.published.events()[-1].reason == "ended"
        reported = len(rig.published.events())
    assert len(rig.published.events()) == reported  # that it is down was reported already
    assert rig.statuses()[-1].state is StreamState.STOPPED


async def test_lossless_source_loses_nothing_to_a_slow_reader() -> None:
    rig = Rig(sources(plays(*range(20), then=ends), lossless=True))
    taken = []
    async with rig.running():
        while rig.stream.state is not StreamState.ENDED:
            await asyncio.sleep(0.002)
            if (frame := rig.slot.take()) is not None:
                taken.append(frame.picture.pts)
    assert taken == list(range(20))
    assert rig.stream.status().frames_dropped == {}


async def test_what_delivered_pictures_is_no_failed_connection() -> None:
    breaks = plays(0, then=fails(SourceFailure.TIMEOUT))
    rig = Rig(sources(breaks, fails(SourceFailure.REFUSED), plays(1)))
    async with rig.running():
        await until(lambda: rig.stream.status().frames_decoded == 2)
        assert rig.stream.status().connect_failures == 1
    assert rig.value("stream_breaks_total", stream="gate", reason="timeout") == 1
    assert rig.value("stream_connect_failures_total", stream="gate", reason="timeout") == 0
    assert rig.value("stream_connect_failures_total", stream="gate", reason="refused") == 1


async def test_source_blocked_in_its_library_is_abandoned_and_its_threads_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a library does, nothing stays live without pictures, and nothing grows with time."""
    monkeypatch.setattr("streamer.streams.stream.DETACH_TIMEOUT_S", 0.1)
    released = threading.Event()
    attempts: list[ScriptedSource] = []

    def make(stream_id: str, config: StreamConfig) -> Source:
        deadline = ReadDeadline()

        def blocks(output: SourceOutput, stop: threading.Event) -> None:
            with deadline.ends_reads(stop):
                deadline.allow(5.0)
                output.frame(picture(len(attempts)))
                deadline.allow(0.1)
                released.wait(30)

        attempts.append(ScriptedSource(blocks))
        attempts[-1].deadline = deadline
        return attempts[-1]

    rig = Rig(make)
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        await until(lambda: rig.stream.state is StreamState.RETRYING)
        down = rig.published.events()[-1]
        assert down.reason == "timeout"
        assert "its read is blocked" in str(down.detail)
        await until(lambda: rig.value("stream_reconnects_total", stream="gate") >= 4)
        assert len(attempts) == 2
        assert rig.value("source_threads_detached") == 2
        released.set()
        await until(lambda: len(attempts) > 2)
    await until(lambda: rig.value("source_threads_detached") == 0)


async def test_mistake_in_a_source_is_that_streams_trouble() -> None:
    def blunders(output: SourceOutput, stop: threading.Event) -> None:
        raise AttributeError("rtsp://user:secret@camera has no width")

    rig = Rig(sources(blunders, plays(0)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
    down = rig.published.events()[0]
    assert down.reason == "internal"
    assert "AttributeError" in str(down.detail)
    assert "secret" not in str(rig.published.items)


async def test_source_that_cannot_be_made_is_tried_again() -> None:
    attempts = []

    def make(stream_id: str, config: StreamConfig) -> Source:
        attempts.append(stream_id)
        if len(attempts) == 1:
            raise ConfigError("streams.gate.password_file: cannot be read")
        return ScriptedSource(plays(0))

    rig = Rig(make)
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
    assert rig.published.events()[0].detail == "streams.gate.password_file: cannot be read"


async def test_stop_detaches_within_a_second_from_a_blocked_read() -> None:
    release = threading.Event()
    late = threading.Event()

    def blocks(output: SourceOutput, stop: threading.Event) -> None:
        output.frame(picture(0))
        release.wait(30)  # deaf to ``stop``, like a read
        output.frame(picture(1))
        output.dropped(DropReason.CORRUPT)
        output.reset("late")
        late.set()

    rig = Rig(sources(blocks))
    run = asyncio.create_task(rig.stream.run())
    await until(lambda: rig.stream.state is StreamState.LIVE)
    began = time.monotonic()
    rig.stream.request_stop("stream_removed")
    await run
    assert time.monotonic() - began < 2.0  # 0.8 s on an idle machine
    assert rig.value("source_threads_detached") == 1
    assert rig.stream.state is StreamState.STOPPED
    release.set()
    await until(lambda: rig.value("source_threads_detached") == 0)
    assert late.is_set()
    assert rig.stream.status().frames_decoded == 1
    assert rig.stream.status().frames_dropped == {}
    assert rig.kinds() == ["stream_up", "stream_down"]


async def test_stop_during_the_wait_between_attempts_is_immediate() -> None:
    reconnect = ReconnectConfig(initial_s=3000, maximum_s=3000)
    rig = Rig(sources(fails(SourceFailure.UNREACHABLE)), reconnect=reconnect)
    async with asyncio.timeout(10):
        async with rig.running():
            await until(lambda: rig.stream.state is StreamState.RETRYING)


async def test_rate_limit_refuses_frames_and_counts_them() -> None:
    rig = Rig(sources(plays(*range(50))), max_rate_hz=5.0)
    async with rig.running():
        await until(lambda: rig.stream.status().frames_decoded == 50)
        refused = rig.stream.status().frames_dropped["rate_limit"]
        assert 39 <= refused <= 40
    labels = {"stream": "gate", "stage": "slot", "reason": "rate_limit"}
    assert rig.value("frames_dropped_total", **labels) == refused


async def test_reset_and_size_change_are_reported() -> None:
    def changes(output: SourceOutput, stop: threading.Event) -> None:
        output.frame(picture(0))
        output.reset("pts went back by 10.0 s")
        output.frame(picture(1, width=64, height=48))
        stop.wait(30)

    rig = Rig(sources(changes))
    async with rig.running():
        await until(lambda: rig.stream.status().width == 64)
    assert rig.kinds()[:2] == [EventKind.STREAM_UP, EventKind.STREAM_RESET]
    assert rig.published.events()[1].reason == "pts went back by 10.0 s"
    assert rig.value("pts_discontinuities_total", stream="gate") == 1
    assert [(status.width, status.height) for status in rig.statuses()][:2] == [(32, 24), (64, 48)]


@pytest.mark.parametrize("state", ["connecting", "live"])
async def test_password_is_in_no_status(state: str) -> None:
    rig = Rig(sources(plays(*([0] if state == "live" else []))))
    async with rig.running():
        await until(lambda: rig.stream.state == state)
        assert "secret" not in rig.stream.status().url


def changed(rig: Rig, **settings: object) -> StreamConfig:
    """The rig's settings with others in their place."""
    return rig.config.changed(**settings)


async def test_paused_stream_stays_connected_and_counts_what_it_refuses() -> None:
    go_on = threading.Event()

    def script(output: SourceOutput, stop: threading.Event) -> None:
        output.frame(picture(0))
        go_on.wait(20)
        for number in (1, 2):
            output.frame(picture(number))
        stop.wait(30)

    rig = Rig(sources(script), paused=True)
    async with rig.running():
        await until(lambda: rig.stream.status().frames_decoded == 1)
        assert rig.stream.state is StreamState.LIVE
        assert rig.stream.status().paused
        assert rig.slot.take() is None
        rig.stream.change(changed(rig, paused=False))
        assert not rig.stream.status().paused
        go_on.set()
        await until(lambda: rig.stream.status().frames_decoded == 3)
        frame = rig.slot.take()
    assert frame is not None
    assert frame.index == 2
    assert rig.stream.status().frames_dropped == {"paused": 1, "superseded": 1}
    assert rig.value("frames_dropped_total", stream="gate", stage="slot", reason="paused") == 1
    assert [status.paused for status in rig.statuses()] == [True, False, False]
    assert rig.kinds() == ["stream_up", "stream_down"]


async def test_paused_file_that_must_lose_nothing_waits() -> None:
    def script(output: SourceOutput, stop: threading.Event) -> None:
        for number in range(2):
            output.frame(picture(number))

    rig = Rig(lambda *_: ScriptedSource(script, lossless=True), paused=True)
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        assert rig.slot.waiting_since_monotonic_ns is None
        rig.stream.change(changed(rig, paused=False))
        taken: list[int] = []
        while len(taken) < 2:
            await until(lambda: rig.slot.waiting_since_monotonic_ns is not None)
            frame = rig.slot.take()
            assert frame is not None
            taken.append(frame.index)
    assert taken == [0, 1]
    assert rig.stream.status().frames_dropped == {}


async def test_paused_file_can_be_stopped() -> None:
    rig = Rig(lambda *_: ScriptedSource(plays(0), lossless=True), paused=True)
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
    assert rig.stream.state is StreamState.STOPPED


async def test_new_url_reconnects_and_reports_the_reason() -> None:
    urls: list[str] = []
    make = sources(plays(0), plays(1))

    def make_source(stream_id: str, config: StreamConfig) -> Source:
        urls.append(config.url.text)
        return make(stream_id, config)

    rig = Rig(make_source)
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        rig.stream.change(changed(rig, url="rtsp://user:secret@other"))
        await until(lambda: rig.stream.status().frames_decoded == 2)
        assert rig.stream.state is StreamState.LIVE
    assert urls == ["rtsp://user:secret@x", "rtsp://user:secret@other"]
    assert rig.kinds() == ["stream_up", "stream_down", "stream_up", "stream_down"]
    assert rig.published.events()[1].reason == "settings_changed"
    assert rig.stream.status().connect_failures == 0
    assert "secret" not in str(rig.published.items)


async def test_change_that_does_not_concern_the_camera_keeps_its_connection() -> None:
    rig = Rig(sources(plays(0)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        session = rig.stream.status().session_id
        rig.stream.change(
            changed(
                rig,
                max_rate_hz=5.0,
                max_objects=3,
                ground_plane=[[0, 0, 0, 0], [9, 0, 5, 0], [9, 9, 5, 5], [0, 9, 0, 5]],
                reconnect=ReconnectConfig(initial_s=2),
            )
        )
        await asyncio.sleep(0)
        assert rig.stream.status().session_id == session
    assert rig.kinds() == ["stream_up", "stream_down"]


@pytest.mark.parametrize("first", [ends, fails(SourceFailure.REFUSED)])
async def test_new_url_ends_a_rest_at_once(first: Script) -> None:
    rig = Rig(sources(first, plays(0)), reconnect=ReconnectConfig(initial_s=3600, maximum_s=3600))
    async with rig.running():
        await until(lambda: rig.stream.state in (StreamState.ENDED, StreamState.RETRYING))
        rig.stream.change(changed(rig, url="rtsp://other"))
        await until(lambda: rig.stream.state is StreamState.LIVE)
    assert rig.kinds() == ["stream_down", "stream_up", "stream_down"]


async def test_change_while_the_source_is_blocked_leaves_it_to_its_timeout() -> None:
    release = threading.Event()

    def blocked(output: SourceOutput, stop: threading.Event) -> None:
        output.frame(picture(0))
        release.wait(30)
        output.frame(picture(1))

    rig = Rig(sources(blocked, plays(2)))
    async with rig.running():
        await until(lambda: rig.stream.state is StreamState.LIVE)
        rig.stream.change(changed(rig, url="rtsp://other"))
        await until(lambda: rig.stream.status().frames_decoded == 2)
        assert rig.value("source_threads_detached") == 1
        release.set()
        await until(lambda: rig.value("source_threads_detached") == 0)
        frame = rig.slot.take()
    assert frame is not None
    assert frame.picture.pts == 2

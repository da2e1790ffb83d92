"""Real cameras' trouble, met by the whole daemon: a server that dies and returns, and garbage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamer.app import App
from streamer.config.streams import ObjectConfig, ReconnectConfig, StreamConfig
from streamer.types import StreamState
from tests.conftest import find_free_port
from tests.integration.rtsp.clips import HEIGHT, WIDTH, write_clip
from tests.integration.rtsp.server import RtspServer
from tests.integration.test_live_path import running, settings, until
from tests.streamer.fakes import RecordingSink
from tracker import Tracker

UPPER_HALF = [0.0, 0.0, float(WIDTH), HEIGHT / 2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A numbered clip with a red upper half."""
    return write_clip(tmp_path_factory.mktemp("clips") / "h264.mkv", "h264")


async def test_camera_that_dies_and_returns_keeps_its_objects(tmp_path: Path, clip: Path) -> None:
    port = find_free_port()
    camera = StreamConfig(
        url=f"rtsp://127.0.0.1:{port}/live",
        objects=[ObjectConfig(id=4, label="door", box=UPPER_HALF)],
    )
    sink = RecordingSink()
    app = App(
        settings(tmp_path, gate=camera),
        tracker=Tracker.random("nano", seed=0),
        further_sinks=[sink],
    )
    async with running(app):
        for round_number in range(1, 3):
            with RtspServer("--file", str(clip), port=port):
                await until(
                    lambda: (
                        len({r.frame.session_id for r in sink.published.results()}) == round_number  # noqa: B023
                        and app.streams.statuses()[0].state is StreamState.LIVE
                    )
                )
            await until(lambda: app.streams.statuses()[0].state is StreamState.RETRYING)
    for result in sink.published.results():
        assert [each.track.object_id for each in result.objects] == [4]
    kinds = sink.published.event_kinds()
    assert kinds.count("stream_up") == 2
    assert kinds.count("added") == kinds.count("prompt_applied") == 1
    indexes = [result.frame.index for result in sink.published.results()]
    assert indexes == sorted(set(indexes))


async def test_four_cameras_of_which_one_sends_garbage(tmp_path: Path, clip: Path) -> None:
    async def talk_nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(range(256)) * 64)
        await writer.drain()
        writer.close()

    nonsense = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
    garbage_port = nonsense.sockets[0].getsockname()[1]
    with RtspServer("--file", str(clip)) as server:
        camera = StreamConfig(
            url=server.url(), max_rate_hz=5.0, objects=[ObjectConfig(id=1, box=UPPER_HALF)]
        )
        streams = {f"cam{number}": camera for number in range(3)}
        streams["garbage"] = StreamConfig(
            url=f"rtsp://127.0.0.1:{garbage_port}/live",
            open_timeout_s=1.0,
            reconnect=ReconnectConfig(initial_s=0.05, maximum_s=0.1),
        )
        sink = RecordingSink()
        app = App(
            settings(tmp_path, **streams),
            tracker=Tracker.random("nano", seed=0),
            further_sinks=[sink],
        )
        async with running(app):
            await until(lambda: all(len(sink.published.results(f"cam{n}")) >= 8 for n in range(3)))
            await until(lambda: "stream_down" in sink.published.event_kinds("garbage"))
            states = {status.stream_id: status for status in app.streams.statuses()}
            assert [states[f"cam{n}"].state for n in range(3)] == [StreamState.LIVE] * 3
            assert states["garbage"].state is StreamState.RETRYING
            assert states["garbage"].reason in ("garbage", "timeout")
        assert {"stream_up", "stream_down"} >= set(sink.published.event_kinds("garbage"))
        assert not sink.published.results("garbage")
    nonsense.close()
    await nonsense.wait_closed()

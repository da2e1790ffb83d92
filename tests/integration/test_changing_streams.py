"""Streams changed, paused and resumed while the daemon runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.app import App
from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.errors import BusyError, ConfigError, ControlError
from streamer.types import StreamState
from tests.integration.test_live_path import SMALL, running, settings, until
from tests.streamer.fakes import FakeTracker
from tracker import Prompt

BOX = [0.0, 0.0, 9.0, 9.0]


def app_with(folder: Path, **streams: StreamConfig) -> App:
    """The daemon with a tracker that finds every object at once."""
    return App(settings(folder, **streams), tracker=FakeTracker())  # type: ignore[arg-type]


async def test_changed_url_keeps_the_objects(tmp_path: Path) -> None:
    gate = StreamConfig(url=SMALL, objects=[ObjectConfig(id=7, label="ball", box=BOX)])
    async with running(app_with(tmp_path, gate=gate)) as app:
        await until(lambda: app.streams.statuses()[0].object_ids == (7,))
        (before,) = app.streams.statuses()
        await app.streams.change("gate", {"url": SMALL.replace("seed=3", "seed=4")})
        await until(lambda: app.streams.statuses()[0].session_id != before.session_id)
        await until(lambda: app.streams.statuses()[0].frames_tracked > before.frames_tracked + 2)
        (after,) = app.streams.statuses()
        assert after.object_ids == (7,)
        assert after.url.endswith("seed=4&width=160&height=96&rate_hz=10")
        assert app.streams.config("gate").url.text == SMALL.replace("seed=3", "seed=4")
        assert app.streams.config("gate").objects == gate.objects


async def test_change_of_another_setting_keeps_the_connection(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        await until(lambda: app.streams.statuses()[0].frames_tracked)
        (before,) = app.streams.statuses()
        await app.streams.change("gate", {"max_rate_hz": 5, "reconnect": {"maximum_s": 9}})
        await until(lambda: app.streams.statuses()[0].frames_dropped.get("rate_limit"))
        assert app.streams.statuses()[0].session_id == before.session_id
        assert app.streams.config("gate").reconnect.initial_s == 0.05


async def test_paused_stream_is_not_tracked_until_resumed(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        await until(lambda: app.streams.statuses()[0].frames_tracked)
        await app.streams.pause("gate")
        await app.streams.pause("gate")  # twice is no error
        await until(lambda: app.streams.statuses()[0].frames_dropped.get("paused", 0) > 2)
        (paused,) = app.streams.statuses()
        assert paused.paused
        assert paused.state is StreamState.LIVE
        await app.streams.resume("gate")
        await until(lambda: app.streams.statuses()[0].frames_tracked > paused.frames_tracked + 1)
        (resumed,) = app.streams.statuses()
        assert not resumed.paused
        assert resumed.session_id == paused.session_id


async def test_fewer_objects_than_are_followed_are_refused(tmp_path: Path) -> None:
    objects = [ObjectConfig(id=1, box=BOX), ObjectConfig(id=2, box=BOX)]
    gate = StreamConfig(url=SMALL, objects=objects)
    async with running(app_with(tmp_path, gate=gate)) as app:
        await until(lambda: app.streams.statuses()[0].object_ids == (1, 2))
        await app.objects.remove("gate", 1)
        with pytest.raises(ConfigError, match=r"gate\.max_objects must be at least 2, .*got 1"):
            await app.streams.change("gate", {"max_objects": 1})
        await app.streams.change("gate", {"max_objects": 3})
        for object_id in (3, 4):
            outcome = await app.objects.prompt("gate", Prompt(object_id, box_xyxy=(0, 0, 9, 9)))
            assert outcome.applied, outcome.reason
        outcome = await app.objects.prompt("gate", Prompt(5, box_xyxy=(0, 0, 9, 9)))
        assert outcome.reason == "full"
        with pytest.raises(
            ControlError, match="gate tracks 3 objects: max_objects must be at least that, got 2"
        ):
            await app.streams.change("gate", {"max_objects": 2, "url": "rtsp://other/1"})
        assert app.streams.config("gate").max_objects == 3
        assert app.streams.config("gate").url.text == SMALL


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "gopher://x"}, "streams.gate.url must be"),
        ({"colour": "red"}, "streams.gate.colour is not a setting"),
        ({"url": "synthetic://match?seed=x"}, "seed"),
        ({"reconnect": {"maximum_s": 0.05, "initial_s": 1.0}}, "must be at least initial_s"),
    ],
)
async def test_wrong_change_changes_nothing(
    settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        before = app.streams.config("gate")
        with pytest.raises(ConfigError, match=message):
            await app.streams.change("gate", settings)
        assert app.streams.config("gate") == before


async def test_unknown_stream_cannot_be_changed(tmp_path: Path) -> None:
    async with running(app_with(tmp_path)) as app:
        for change in (
            app.streams.change("gate", {"max_rate_hz": 5}),
            app.streams.pause("gate"),
            app.streams.resume("gate"),
        ):
            with pytest.raises(ControlError, match="there is no stream 'gate'"):
                await change


async def test_stream_that_fails_during_its_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:

        def busy(*_: object, **__: object) -> None:
            raise BusyError("256 commands wait for the tracker already")

        with monkeypatch.context() as patched:
            patched.setattr(app._inferences[0].commands, "change_stream", busy)
            with pytest.raises(BusyError):
                await app.streams.add("yard", StreamConfig(url=SMALL))
        await until(lambda: list(app._inferences[0]._streams) == ["gate"])
        assert 'stream="yard"' not in app.metrics.exposition().decode()
        await app.streams.add("yard", StreamConfig(url=SMALL))
        await until(lambda: app.streams.statuses()[1].frames_tracked)

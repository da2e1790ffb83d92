"""What was changed while running is there after a restart, also after a kill."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamer.app import App
from streamer.config.schema import MaskletConfig
from streamer.config.state_folder import state_folder
from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.streams.state.store import INDEX
from tests.integration.test_live_path import SMALL, running, settings, until
from tests.streamer.fakes import FakeTracker
from tracker import ModelIdentity, Prompt, TrackState

BOX = [0.0, 0.0, 9.0, 9.0]
DOOR, BALL = ObjectConfig(id=1, label="door", box=BOX), ObjectConfig(id=2, label="ball", box=BOX)


def app_with(folder: Path, *, fresh: bool = False, **streams: StreamConfig) -> App:
    """The daemon with a tracker that finds every object at once."""
    config = settings(folder, **streams)
    return App(config, tracker=FakeTracker(), fresh=fresh)  # type: ignore[arg-type]


def saved(config: MaskletConfig) -> dict[str, Any]:
    """The streams in the current index on the disk."""
    folder = state_folder(config.state_directory, config.control.endpoint)
    assert folder is not None
    path = folder / INDEX
    return dict(json.loads(path.read_text())["streams"]) if path.exists() else {}


def labels(app: App, stream_id: str) -> dict[int, tuple[str | None, str | None]]:
    return {each.object_id: (each.label, each.colour) for each in app.objects.of(stream_id)}


async def test_streams_names_and_objects_survive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gate = StreamConfig(url=SMALL, objects=[DOOR, BALL])
    async with running(app_with(tmp_path, gate=gate, old=StreamConfig(url=SMALL))) as app:
        await until(lambda: app.streams.statuses()[0].object_ids == (1, 2))
        await app.streams.add_from("yard", {"url": SMALL, "max_rate_hz": 5})
        await app.streams.change("gate", {"max_objects": 9})
        await app.streams.pause("yard")
        await app.streams.remove("old")
        await app.objects.rename("gate", 1, label="Tür", colour="#ff8800")
        await app.objects.remove("gate", 2)
        outcome = await app.objects.prompt("gate", Prompt(7, box_xyxy=(0, 0, 9, 9)), "dog")
        assert outcome.applied
    caplog.clear()
    async with running(app_with(tmp_path, gate=gate, old=StreamConfig(url=SMALL))) as app:
        await until(lambda: len(labels(app, "gate")) == 2)
        assert labels(app, "gate") == {1: ("Tür", "#ff8800"), 7: ("dog", None)}
        assert [each.stream_id for each in app.streams.statuses()] == ["gate", "yard"]
        assert app.streams.config("gate").max_objects == 9
        assert app.streams.config("yard").paused
        assert app.streams.config("yard").max_rate_hz == 5
        assert app.objects.next_id("gate") == 3
        assert app.objects.next_id("yard") == 1
    assert "old stays removed; gate (changed: max_objects); yard (added)" in caplog.text.replace(
        "yard (added); gate (changed: max_objects)", "gate (changed: max_objects); yard (added)"
    )
    assert "gate: objects 1 (Tür), 7 (dog)" in caplog.text


async def test_objects_are_shown_as_lost_before_the_first_frame(tmp_path: Path) -> None:
    gate = StreamConfig(url=SMALL, objects=[DOOR])
    async with running(app_with(tmp_path, gate=gate)) as app:
        await until(lambda: labels(app, "gate") == {1: ("door", None)})
        await app.streams.pause("gate")
    async with running(app_with(tmp_path, gate=gate)) as app:
        await until(lambda: labels(app, "gate") == {1: ("door", None)})
        await app.objects.rename("gate", 1, label="Tür", colour="#ff8800")
        (shown,) = app.objects.of("gate")
        assert (shown.state, shown.frame_index) == (TrackState.LOST, -1)
        await app.streams.resume("gate")
        await until(lambda: app.objects.of("gate")[0].state is TrackState.VISIBLE)
        assert labels(app, "gate") == {1: ("Tür", "#ff8800")}


async def test_fresh_start_is_the_file_alone(tmp_path: Path) -> None:
    gate = StreamConfig(url=SMALL, objects=[DOOR])
    async with running(app_with(tmp_path, gate=gate)) as app:
        await app.streams.add_from("yard", {"url": SMALL})
    async with running(app_with(tmp_path, fresh=True, gate=gate)) as app:
        assert [each.stream_id for each in app.streams.statuses()] == ["gate"]
    async with running(app_with(tmp_path, gate=gate)) as app:
        assert [each.stream_id for each in app.streams.statuses()] == ["gate"]


async def test_nothing_is_kept_where_that_is_wished(tmp_path: Path) -> None:
    for _ in range(2):
        config = settings(tmp_path, gate=StreamConfig(url=SMALL))
        config = config.changed(state_directory="none")
        async with running(App(config, tracker=FakeTracker())) as app:  # type: ignore[arg-type]
            assert [each.stream_id for each in app.streams.statuses()] == ["gate"]
            await app.streams.add_from("yard", {"url": SMALL})


async def test_change_is_saved_while_running(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        await app.streams.add_from("yard", {"url": SMALL})
        await until(lambda: "yard" in saved(app.config))
        await app.objects.prompt("gate", Prompt(7, box_xyxy=(0, 0, 9, 9)), "dog")
        await until(lambda: saved(app.config).get("gate", {}).get("objects"))
        await app.objects.rename("gate", 7, label="Hund", colour=None)
        await until(lambda: saved(app.config)["gate"]["objects"][0].get("label") == "Hund")
        await app.objects.remove("gate", 7)
        await until(lambda: "objects" not in saved(app.config)["gate"])
        await app.streams.remove("yard")
        await until(lambda: "yard" not in saved(app.config))


async def test_id_of_an_object_that_is_gone_is_not_given_again(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        for object_id in (1, 2, 4):
            await app.objects.prompt("gate", Prompt(object_id, box_xyxy=(0, 0, 9, 9)))
            await app.objects.remove("gate", object_id)
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        assert app.objects.next_id("gate") == 3
        await app.objects.prompt("gate", Prompt(3, box_xyxy=(0, 0, 9, 9)))
        assert app.objects.next_id("gate") == 5


async def test_objects_of_another_model_are_reported_and_the_file_applies_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = StreamConfig(url=SMALL, objects=[DOOR])
    async with running(app_with(tmp_path, gate=gate)) as app:
        await until(lambda: app.streams.statuses()[0].object_ids == (1,))
        await app.objects.prompt("gate", Prompt(7, box_xyxy=(0, 0, 9, 9)), "dog")
    monkeypatch.setattr("tests.streamer.fakes.FAKE_MODEL", ModelIdentity("other", "1" * 64))
    async with running(app_with(tmp_path, gate=gate)) as app:
        await until(lambda: app.streams.statuses()[0].object_ids == (1,))
        assert labels(app, "gate") == {1: ("door", None)}
    assert "gate: object 7 (dog) must be prompted again: object 7 was remembered by" in caplog.text
    monkeypatch.undo()
    # The log names the setting that restores them, and it works.
    (copied,) = re.findall(
        r"the saved state is copied to .* with state_directory=(\S+)", caplog.text
    )
    config = settings(tmp_path, gate=gate)
    config = config.changed(state_directory=copied)
    async with running(App(config, tracker=FakeTracker())) as app:  # type: ignore[arg-type]
        await until(lambda: len(labels(app, "gate")) == 2)
        assert labels(app, "gate") == {1: ("door", None), 7: ("dog", None)}


async def test_added_stream_that_no_longer_works_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = tmp_path / "mask.png"
    clip.write_bytes(b"")
    async with running(app_with(tmp_path)) as app:
        await app.streams.add_from("yard", {"url": SMALL})
        await until(lambda: "yard" in saved(app.config))
    folder = state_folder(app.config.state_directory, app.config.control.endpoint)
    assert folder is not None
    index = json.loads((folder / INDEX).read_text())
    index["streams"]["yard"]["settings"]["objects"] = [{"id": 1, "mask_file": str(clip)}]
    (folder / INDEX).write_text(json.dumps(index))
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        assert [each.stream_id for each in app.streams.statuses()] == ["gate"]
        assert "the saved state of stream yard is not used" in caplog.text
    assert "yard" in saved(app.config)


async def test_without_a_place_for_state_the_daemon_runs_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    config = settings(tmp_path, gate=StreamConfig(url=SMALL))
    config = config.changed(api=config.api.changed(self_signed=True))
    for home in (str(tmp_path / "file"), None):
        if home is not None:
            monkeypatch.setenv("XDG_STATE_HOME", home)
        else:  # as for a user id without a home folder
            monkeypatch.delenv("XDG_STATE_HOME")
            monkeypatch.setattr("os.path.expanduser", lambda path: path)
        caplog.clear()
        async with running(App(config, tracker=FakeTracker())) as app:  # type: ignore[arg-type]
            await until(lambda: app.streams.statuses()[0].frames_tracked)
        assert caplog.text.count("no state is saved for the next start") == 1


async def test_another_state_beside_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("first", "second"):
        (tmp_path / name).mkdir(mode=0o700)
    async with running(app_with(tmp_path / "first", gate=StreamConfig(url=SMALL))) as app:
        await app.streams.add_from("yard", {"url": SMALL})
    other = state_folder("auto", app.config.control.endpoint)
    assert "other saved states" not in caplog.text
    async with running(app_with(tmp_path / "second", gate=StreamConfig(url=SMALL))):
        assert f"other saved states lie beside {tmp_path}" not in caplog.text
        assert f": {other}; state_directory=FOLDER uses one of them" in caplog.text


async def test_start_that_fails_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, gate=StreamConfig(url=SMALL))) as app:
        await app.streams.add_from("yard", {"url": SMALL})
    before = saved(app.config)
    broken = StreamConfig(url=SMALL, objects=[ObjectConfig(id=1, mask_file="none.png")])
    with pytest.raises(ExceptionGroup):
        await app_with(tmp_path, gate=StreamConfig(url=SMALL), second=broken).run()
    assert saved(app.config) == before


async def test_what_was_added_over_the_network_obeys_the_rules_of_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(app_with(tmp_path)) as app:
        async with httpx.AsyncClient(base_url=str(app.endpoints.api)) as api:
            added = await api.post("/v1/streams", json={"id": "yard", "url": SMALL})
            assert added.status_code == 201
            bound = {"id": "gate", "url": SMALL, "options": {"probesize": "32"}}
            assert (await api.post("/v1/streams", json=bound)).status_code == 201
        # What the daemon's user sets over the control socket is not limited by these rules.
        await app.streams.change("gate", {"url": SMALL, "options": {"user_agent": "x"}})
        await app.streams.add_from("mine", {"url": SMALL})
        assert app.streams.owner_set("yard") == frozenset()
    config = settings(tmp_path)
    closed = config.changed(api=config.api.changed(url_schemes=["rtsp"]))
    async with running(App(closed, tracker=FakeTracker())) as app:  # type: ignore[arg-type]
        assert sorted(app.streams.configs()) == ["gate", "mine"]
        assert app.streams.config("gate").options == {"user_agent": "x"}
    assert "the saved state of stream yard is not used: url: 'synthetic' URLs" in caplog.text
    async with running(app_with(tmp_path)) as app:
        assert sorted(app.streams.configs()) == ["gate", "mine", "yard"]

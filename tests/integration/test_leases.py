"""Streams go from daemon to daemon with their objects, and none is saved by two."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamer.app import App
from streamer.config.state_address import StateAddress
from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.errors import BusyError, ConfigError, ControlError
from streamer.streams.leases import Leases
from streamer.streams.state.fenced_files import StaleTokenError
from streamer.streams.state.shared_store import SharedStore
from tests.integration.test_live_path import SMALL, running, settings, until
from tests.streamer.fakes import FakeTracker
from tracker import Prompt

DOOR = ObjectConfig(id=1, label="door", box=[0.0, 0.0, 9.0, 9.0])
GATE = StreamConfig(url=SMALL, objects=[DOOR])


def daemon(folder: Path, name: str) -> App:
    """One of several daemons at one address."""
    config = settings(folder / name).changed(state_directory=f"file://{folder}/shared")
    return App(config, tracker=FakeTracker(), leased=True)  # type: ignore[arg-type]


def leases(app: App) -> Leases:
    assert app.leases is not None
    return app.leases


def labels(app: App, stream_id: str) -> dict[int, str | None]:
    return {each.object_id: each.label for each in app.objects.of(stream_id)}


def saved_labels(folder: Path) -> list[str | None]:
    """Of the stream ``gate``, in the store."""
    store = SharedStore(StateAddress("file", str(folder / "shared")))
    store.open()
    records = store.load()
    return [each.label for each in records["gate"].objects] if "gate" in records else []


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """The store is not there, as a disk that is not mounted."""
    (folder / "shared").rename(folder / "away")
    yield
    shutil.rmtree(folder / "shared", ignore_errors=True)
    (folder / "away").rename(folder / "shared")


async def test_stream_moves_with_its_objects_while_its_camera_is_connected_already(
    tmp_path: Path,
) -> None:
    async with running(daemon(tmp_path, "one")) as one, running(daemon(tmp_path, "two")) as two:
        await leases(one).take("gate", GATE, 1)
        await until(lambda: labels(one, "gate") == {1: "door"})
        await one.objects.prompt("gate", Prompt(7, box_xyxy=(0, 0, 9, 9)), "dog")
        await one.objects.rename("gate", 1, label="Tür", colour="#ff8800")
        await one.streams.change("gate", {"max_objects": 9})

        await two.streams.add("gate", GATE.changed(paused=True, objects=[]))
        await until(lambda: two.streams.statuses()[0].state == "live")
        session = two.streams.statuses()[0].session_id
        await leases(one).leave("gate")
        assert one.streams.configs() == {}
        await leases(two).take("gate", GATE, 2)
        await until(lambda: labels(two, "gate") == {1: "Tür", 7: "dog"})
        assert two.streams.config("gate") == GATE.changed(max_objects=9)
        assert two.streams.statuses()[0].session_id == session
        assert two.objects.next_id("gate") == 2
        await until(lambda: two.streams.statuses()[0].frames_tracked > 0)


async def test_stream_of_a_daemon_that_went_silent_continues_and_ends_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(daemon(tmp_path, "one")) as one, running(daemon(tmp_path, "two")) as two:
        await leases(one).take("gate", GATE, 1)
        await until(lambda: labels(one, "gate") == {1: "door"})
        await one.objects.rename("gate", 1, label="Tür", colour=None)
        versions = tmp_path / "shared" / "gate"
        await until(lambda: "Tür" in saved_labels(tmp_path))

        await leases(two).take("gate", GATE, 2)
        await until(lambda: labels(two, "gate") == {1: "Tür"})
        await until(lambda: any(path.name.startswith(f"{2:016}") for path in versions.iterdir()))
        await one.objects.rename("gate", 1, label="late", colour=None)
        await until(lambda: one.streams.configs() == {})
        assert "gate ends here: another daemon of the fleet has it" in caplog.text
        with pytest.raises(StaleTokenError):
            await leases(one).take("gate", GATE, 1)
        await leases(two).leave("gate")
        await leases(one).take("gate", GATE, 3)
        await until(lambda: labels(one, "gate") == {1: "Tür"})


async def test_store_that_is_away_harms_no_tracking_and_moves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(daemon(tmp_path, "one")) as one:
        await leases(one).take("gate", GATE, 1)
        await until(lambda: labels(one, "gate") == {1: "door"})
        with away(tmp_path):
            with pytest.raises(BusyError, match="the state of gate cannot be written to file://"):
                await leases(one).leave("gate")
            with pytest.raises(BusyError, match="the state of yard cannot be read from file://"):
                await leases(one).take("yard", GATE, 2)
            assert list(one.streams.configs()) == ["gate"]
            await one.objects.prompt("gate", Prompt(7, box_xyxy=(0, 0, 9, 9)), "dog")
            tracked = one.streams.statuses()[0].frames_tracked
            await until(lambda: one.streams.statuses()[0].frames_tracked > tracked)
        assert caplog.text.count("the state cannot be written to") == 1
        await leases(one).leave("gate")
        assert caplog.text.count("the state is written again") == 1
        await leases(one).take("gate", GATE, 3)
        await until(lambda: labels(one, "gate") == {1: "door", 7: "dog"})


async def test_stream_that_cannot_run_here_is_not_held(tmp_path: Path) -> None:
    async with running(daemon(tmp_path, "one")) as one, running(daemon(tmp_path, "two")) as two:
        await one.streams.add("gate", GATE)
        await until(lambda: labels(one, "gate") == {1: "door"})
        with pytest.raises(ControlError, match="the stream gate has objects; end it here first"):
            await leases(one).take("gate", GATE, 1)
        await leases(two).take("gate", GATE, 2)
        await one.streams.remove("gate")
        await leases(two).leave("gate")
    assert (tmp_path / "shared" / "gate").is_dir()


async def test_removed_stream_is_forgotten_and_a_dropped_one_is_not(tmp_path: Path) -> None:
    async with running(daemon(tmp_path, "one")) as one:
        await leases(one).take("gate", GATE, 1)
        await leases(one).take("yard", GATE, 2)
        await until(lambda: len(list((tmp_path / "shared").glob("[gy]*/*"))) >= 2)
        await leases(one).drop("yard")
        await one.streams.remove("gate")
        await until(lambda: not (tmp_path / "shared" / "gate").exists())
        assert (tmp_path / "shared" / "yard").is_dir()
        await leases(one).drop("yard")  # again: an answer that was lost


async def test_leases_are_taken_over_the_control_socket_only(tmp_path: Path) -> None:
    async with running(daemon(tmp_path, "one")) as one:
        transport = httpx.AsyncHTTPTransport(uds=one.endpoints.control.removeprefix("ipc://"))
        path = "/v1/streams/gate/lease"
        lease: dict[str, Any] = {"token": 7, "settings": {"url": SMALL, "objects": []}}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as owner:
            assert (await owner.put(path, json=lease)).status_code == 204
            assert (await owner.get("/v1/streams/gate")).json()["state"] in ("connecting", "live")
            assert (await owner.delete(path)).status_code == 204
            assert (await owner.put(path, json={**lease, "token": 6})).status_code == 409
            wrong = await owner.put(path, json={**lease, "settings": {"url": "x://"}})
            assert wrong.status_code == 422
            assert "streams.gate.url" in wrong.text
            assert (await owner.delete(path)).status_code == 404
            assert (await owner.delete(path, params={"save": "false"})).status_code == 204
        if one.endpoints.api is not None:
            async with httpx.AsyncClient(base_url=one.endpoints.api) as other:
                assert (await other.put(path, json=lease)).status_code == 403


async def test_leased_daemon_needs_an_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state_directory must be an address .* got 'auto'"):
        App(settings(tmp_path), tracker=FakeTracker(), leased=True)  # type: ignore[arg-type]
    app = App(
        settings(tmp_path).changed(state_directory=f"file://{tmp_path}/shared"),
        tracker=FakeTracker(),  # type: ignore[arg-type]
        leased=True,
        fresh=True,
    )
    with pytest.raises(ExceptionGroup) as refused:
        async with asyncio.timeout(60):
            await app.run()
    assert "--fresh is for a daemon alone" in str(refused.value.exceptions[0])

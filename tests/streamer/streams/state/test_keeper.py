"""A running daemon's state gets to the disk by itself, and back at the next start."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamer.config.schema import MaskletConfig
from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.errors import ConfigError, ControlError
from streamer.runtime.metrics import Metrics
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.keeper import Restored, StateKeeper
from streamer.streams.state.records import ObjectRecord
from streamer.streams.state.store import INDEX, StateStore
from streamer.types import EventKind, ObjectSnapshot, StreamEvent
from tests.streamer.fakes import object_memory

DOOR = ObjectConfig(id=1, label="door", box=[0, 0, 9, 9])
GATE = StreamConfig(url="rtsp://camera/1", objects=[DOOR])
YARD = StreamConfig(url="rtsp://camera/2")


def kept(object_id: int, label: str | None = None, value: float = 1.0) -> ObjectSnapshot:
    return ObjectSnapshot(object_id, label, None, object_memory(value))


def event(kind: EventKind, object_id: int, reason: str | None = None) -> StreamEvent:
    return StreamEvent("gate", kind, 0, reason=reason, object_id=object_id)


class Daemon:
    """As much of a daemon as the keeper sees: its streams and their live objects."""

    def __init__(self, folder: Path, **base: StreamConfig) -> None:
        self.config = MaskletConfig(streams=base, state_directory=str(folder / "state"))
        self.streams = dict(base)
        self.objects: dict[str, list[ObjectSnapshot]] = {}
        self.ids: dict[str, ObjectIds] = {}
        self.exports = 0
        self.busy = False
        self.metrics = Metrics()
        self.folder = folder / "state"
        self.keeper = StateKeeper(
            StateStore(self.folder),
            streams=lambda: self.streams,
            object_ids=lambda stream_id: self.ids.setdefault(stream_id, ObjectIds()),
            owner_set=lambda _: ("url", "options"),
            export=self.export,
            metrics=self.metrics,
            settle_s=0.02,
            retry_s=0.05,
        )

    async def export(self, stream_id: str) -> list[ObjectSnapshot]:
        self.exports += 1
        if self.busy:
            raise ControlError("256 commands wait for the tracker already; try again later")
        return list(self.objects.get(stream_id, []))

    def start(self, *, fresh: bool = False) -> Restored:
        restored = self.keeper.open(self.config, fresh=fresh)
        self.streams = dict(restored.streams)
        self.objects = {name: list(each) for name, each in restored.objects.items()}
        return restored

    @asynccontextmanager
    async def running(self, *, fresh: bool = False) -> AsyncIterator[Restored]:
        restored = self.start(fresh=fresh)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.keeper.run())
            yield restored
            await self.keeper.finish(10)
        await self.keeper.close()

    async def killed(self) -> None:
        """The process is gone without a word: the lock goes with it."""
        await self.keeper.close()

    def writes(self, result: str = "written") -> float:
        found = self.metrics.registry.get_sample_value(
            "masklet_state_writes_total", {"result": result}
        )
        return found or 0.0


def kept_objects(daemon: Daemon) -> list[int]:
    """The objects of ``gate`` on the disk. A second store would remove what is being written."""
    index = daemon.folder / INDEX
    streams = json.loads(index.read_text())["streams"] if index.exists() else {}
    return [each["object_id"] for each in streams.get("gate", {}).get("objects", [])]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_change_is_on_the_disk_soon_without_a_shutdown(tmp_path: Path) -> None:
    first = Daemon(tmp_path, gate=GATE)
    first.start()
    run = asyncio.create_task(first.keeper.run())
    first.streams["yard"] = YARD
    first.keeper.streams_changed()
    await until(lambda: first.writes() == 1)
    first.objects["gate"] = [kept(1, "Tür"), kept(8, value=8.0)]
    await first.keeper.publish(event(EventKind.PROMPT_APPLIED, 8))
    await until(lambda: first.writes() == 2)
    run.cancel()
    await first.killed()

    second = Daemon(tmp_path, gate=GATE)
    async with second.running() as restored:
        assert restored.streams == {"gate": GATE, "yard": YARD}
        one, eight = restored.objects["gate"]
        assert (one.object_id, one.label) == (1, "Tür")
        assert eight.memory.pointer_FC[0, 0] == 8.0


async def test_changes_at_once_are_one_write(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, gate=GATE)
    daemon.keeper._settle_s = 0.2
    async with daemon.running():
        for number in range(50):
            daemon.objects["gate"] = [kept(number)]
            daemon.keeper.objects_changed("gate")
            await asyncio.sleep(0)
        await until(lambda: daemon.writes() == 1)
        assert daemon.exports == 1
    assert daemon.writes() == 2  # the last, on shutdown


async def test_shutdown_writes_what_waits_at_once(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.keeper._settle_s = 3600
    async with daemon.running():
        daemon.streams["yard"] = YARD
        daemon.keeper.streams_changed()
        await asyncio.sleep(0.01)
    again = Daemon(tmp_path)
    async with again.running() as restored:
        assert restored.streams == {"yard": YARD}


async def test_removed_stream_and_removed_object_stay_away(tmp_path: Path) -> None:
    first = Daemon(tmp_path, gate=GATE, yard=YARD)
    async with first.running():
        del first.streams["yard"]
        first.keeper.streams_changed()
        removed = event(EventKind.REMOVED, 1, reason="requested")
        assert first.keeper.wants(removed)
        await first.keeper.publish(removed)
    second = Daemon(tmp_path, gate=GATE, yard=YARD)
    async with second.running() as restored:
        assert list(restored.streams) == ["gate"]
        assert list(restored.records["gate"].removed_objects) == [1]
        second.objects["gate"] = [kept(1)]
        await second.keeper.publish(event(EventKind.PROMPT_APPLIED, 1))
    third = Daemon(tmp_path, gate=GATE)
    async with third.running() as restored:
        assert not restored.records["gate"].removed_objects


async def test_objects_that_go_with_their_stream_or_the_daemon_are_no_removal(
    tmp_path: Path,
) -> None:
    daemon = Daemon(tmp_path, gate=GATE)
    for reason in ("shutdown", "stream_removed"):
        assert not daemon.keeper.wants(event(EventKind.REMOVED, 1, reason=reason))
    assert daemon.keeper.wants(event(EventKind.REMOVED, 1, reason="lost_too_long"))
    assert not daemon.keeper.wants(event(EventKind.LOST, 1))


async def test_disk_that_takes_nothing_is_a_warning_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    daemon = Daemon(tmp_path, gate=GATE)
    async with daemon.running():
        folder = daemon.folder
        folder.rename(tmp_path / "away")
        daemon.objects["gate"] = [kept(8, value=8.0)]
        daemon.keeper.objects_changed("gate")
        await until(lambda: daemon.writes("failed") >= 3)
        assert caplog.text.count("the state cannot be written to") == 1
        (tmp_path / "away").rename(folder)
        await until(lambda: daemon.writes() == 1)
        assert "the state is written again" in caplog.text
        assert StateStore(folder).load()["gate"].objects == [ObjectRecord(8)]
    again = Daemon(tmp_path, gate=GATE)
    async with again.running() as restored:
        assert restored.objects["gate"][0].memory.pointer_FC[0, 0] == 8.0


async def test_store_that_hangs_is_reported_once_and_holds_up_neither_daemon_nor_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    daemon = Daemon(tmp_path, gate=GATE)
    daemon.keeper._late_s = 0.05
    answers = threading.Event()
    save = daemon.keeper._store.save

    def hung_save(*arguments: object) -> object:
        answers.wait()
        return save(*arguments)  # type: ignore[arg-type]

    daemon.keeper._store.save = hung_save  # type: ignore[method-assign, assignment]
    daemon.start()
    run = asyncio.create_task(daemon.keeper.run())
    daemon.keeper.objects_changed("gate")
    await until(lambda: daemon.writes("failed") == 1)
    assert "the state cannot be written to" in caplog.text
    assert "no answer within" in caplog.text
    daemon.objects["gate"] = [kept(8)]
    daemon.keeper.objects_changed("gate")
    await daemon.keeper.finish(0.05)
    assert "the state was not written within" in caplog.text
    answers.set()
    await until(lambda: daemon.writes() >= 1)
    assert "the state is written again" in caplog.text
    await run
    await daemon.killed()


async def test_busy_tracker_is_asked_again(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, gate=GATE)
    async with daemon.running():
        daemon.objects["gate"] = [kept(8)]
        daemon.busy = True
        daemon.keeper.objects_changed("gate")
        await until(lambda: daemon.exports >= 3)
        daemon.busy = False
        await until(lambda: kept_objects(daemon) == [8])


async def test_second_daemon_in_one_folder_is_refused(tmp_path: Path) -> None:
    first, second = Daemon(tmp_path), Daemon(tmp_path)
    async with first.running():
        with pytest.raises(ConfigError, match="another daemon keeps its state in"):
            second.start()
    second.start()
    await second.keeper.close()


async def test_fresh_start_sets_the_state_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = Daemon(tmp_path)
    async with first.running():
        first.streams["yard"] = YARD
    second = Daemon(tmp_path)
    async with second.running(fresh=True) as restored:
        assert restored.streams == {}
    (aside,) = second.folder.glob("aside-*")
    assert "camera/2" in (aside / INDEX).read_text()
    assert f"the old state is in {aside}" in caplog.text


async def test_start_logs_what_is_restored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = Daemon(tmp_path, gate=GATE, door=YARD, old=YARD)
    async with first.running():
        first.streams["yard"] = YARD
        first.streams["gate"] = GATE.changed(paused=True)
        del first.streams["old"]
        first.objects = {"gate": [kept(1, "Tür"), kept(3)], "door": [kept(2)]}
    second = Daemon(tmp_path, gate=GATE, old=YARD)
    caplog.clear()
    async with second.running():
        pass
    assert (
        f"restored from {second.folder}: old stays removed; gate (changed: paused); "
        "yard (added); gate: objects 1 (Tür), 3"
    ) in caplog.text
    assert "kept the saved state of streams that are not configured now: door" in caplog.text
    third = Daemon(tmp_path, gate=GATE, door=YARD)
    async with third.running() as restored:
        assert [each.object_id for each in restored.objects["door"]] == [2]


async def test_folder_that_cannot_be_had_is_refused_if_it_was_chosen(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    daemon = Daemon(tmp_path, gate=GATE)
    with pytest.raises(ConfigError, match="state_directory: .* cannot be a folder for it"):
        daemon.start()


async def test_folder_that_cannot_be_had_is_a_warning_if_it_was_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    daemon = Daemon(tmp_path, gate=GATE)
    daemon.config = daemon.config.changed(state_directory="auto")
    async with daemon.running() as restored:
        assert restored.streams == {"gate": GATE}
        daemon.keeper.streams_changed()
    assert "no state is saved for the next start: state_directory:" in caplog.text


async def test_write_that_was_cancelled_never_runs_beside_the_next(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, gate=GATE)
    daemon.start()
    under_way = 0
    most = 0
    save = daemon.keeper._store.save

    def slow_save(*arguments: object) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        shutil.copytree(daemon.folder, tmp_path / f"copy{daemon.exports}")
        saved = save(*arguments)  # type: ignore[arg-type]
        under_way -= 1
        return saved

    daemon.keeper._store.save = slow_save  # type: ignore[method-assign]
    run = asyncio.create_task(daemon.keeper.run())
    daemon.keeper.objects_changed("gate")
    await until(lambda: daemon.exports)
    run.cancel()
    await daemon.keeper.finish(10)
    await daemon.keeper.close()
    assert most == 1
    assert daemon.writes() >= 1

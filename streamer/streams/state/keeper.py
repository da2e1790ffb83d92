"""Saves a running daemon's state to its store, shortly after each change, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from streamer.config.schema import MaskletConfig
from streamer.config.state_folder import AUTO
from streamer.config.streams import StreamConfig
from streamer.errors import ConfigError, ControlError
from streamer.inference.lifecycle import LOST_TOO_LONG
from streamer.runtime.metrics import Metrics
from streamer.runtime.threads import start_thread
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.base import Memories, Store
from streamer.streams.state.lock import FolderTakenError
from streamer.streams.state.records import (
    MergedState,
    ObjectRecord,
    StreamRecord,
    merge,
    objects_to_restore,
    record_of,
)
from streamer.types import EventKind, ObjectSnapshot, Published, StreamEvent

SETTLE_S = 0.5
RETRY_S = 30.0
LATE_S = 30.0
# An object removed for one of these reasons is not restored at the next start; one whose stream or
# daemon ended is.
OBJECT_REMOVED = frozenset({"requested", LOST_TOO_LONG})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What the daemon starts with: its streams, and the objects to resume, by stream."""

    streams: dict[str, StreamConfig]
    records: dict[str, StreamRecord] = field(default_factory=dict)
    objects: dict[str, list[ObjectSnapshot]] = field(default_factory=dict)


class StateKeeper:
    """Writes changes while the daemon runs, and reads them at its start.

    It is notified of changed streams; as a sink it receives the events of prompts and removals.
    A change is written ``SETTLE_S`` later, together with those since, one write at a time. A
    failed write is retried with the next change, or after ``RETRY_S``; one that is not answered
    within ``LATE_S`` counts as failed, and the next one waits for it.
    Bounds: labels and ids of live objects; their memories only while they are written.
    """

    name = "state"
    _saves_unchanged = False

    def __init__(
        self,
        store: Store,
        *,
        streams: Callable[[], Mapping[str, StreamConfig]],
        object_ids: Callable[[str], ObjectIds],
        owner_set: Callable[[str], Collection[str]],
        export: Callable[[str], Awaitable[list[ObjectSnapshot]]],
        metrics: Metrics,
        settle_s: float = SETTLE_S,
        retry_s: float = RETRY_S,
        late_s: float = LATE_S,
    ) -> None:
        """``streams`` returns the running streams, ``export`` the live objects of one;
        ``object_ids`` and ``owner_set`` are those of ``Streams``.
        """
        self._streams = streams
        self._object_ids = object_ids
        self._owner_set = owner_set
        self._export = export
        self._metrics = metrics
        self._settle_s = settle_s
        self._retry_s = retry_s
        self._late_s = late_s
        self._store = store
        self._base: dict[str, StreamConfig] = {}
        self._unused: dict[str, StreamRecord] = {}
        self._objects: dict[str, list[ObjectRecord]] = {}
        self._removed_objects: dict[str, set[int]] = {}
        self._objects_changed: set[str] = set()
        self._changed = asyncio.Event()
        self._saving = asyncio.Lock()
        self._write: asyncio.Task[None] | None = None
        self._finishing = False
        self._finish_now = asyncio.Event()
        self._failing = False
        self._opened = False
        self._copied = False

    # At the start.

    def open(self, config: MaskletConfig, *, fresh: bool) -> Restored:
        """Open the store and read what to start with; ``fresh`` sets the saved state aside.

        Waits for the store. Raises ``ConfigError`` if another daemon uses it, or if it cannot be
        used; with ``state_directory: auto`` the latter is only a warning.
        """
        self._base = dict(config.streams)
        try:
            self._store.open()
        except FolderTakenError:
            raise
        except ConfigError as error:
            if config.state_directory != AUTO:
                raise
            _log.warning("no state is saved for the next start: %s", error)
            return Restored(dict(config.streams))
        self._opened = True
        if fresh:
            where = self._store.set_aside("fresh")
            found = f"the old state is in {where}" if where else "there was no old state"
            _log.info("starting fresh: %s", found)
        merged = merge(config, self._store.load())
        if config.state_directory == AUTO and (others := self._store.others_beside()):
            _log.info(
                "other saved states lie beside %s: %s; state_directory=FOLDER uses one of them",
                self._store.place,
                ", ".join(others),
            )
        self._unused = merged.unused
        restored = Restored(merged.streams, merged.records)
        for stream_id, record in merged.records.items():
            if stream_id in merged.streams:
                kept = self._kept_objects(stream_id, merged.streams[stream_id], record)
                restored.objects[stream_id] = kept
                self._objects[stream_id] = [_record(each) for each in kept]
                self._removed_objects[stream_id] = set(record.removed_objects)
        self._report(merged, restored)
        return restored

    def _kept_objects(
        self, stream_id: str, config: StreamConfig, record: StreamRecord
    ) -> list[ObjectSnapshot]:
        wanted = objects_to_restore(config, record)
        memories = self._store.memories(stream_id) if wanted else {}
        return [
            ObjectSnapshot(each.object_id, each.label, each.colour, memories[each.object_id])
            for each in wanted
            if each.object_id in memories
        ]

    def _report(self, merged: MergedState, restored: Restored) -> None:
        for warning in merged.warnings:
            _log.warning("%s", warning)
        objects = [
            f"{stream_id}: {_listed(kept)}" for stream_id, kept in restored.objects.items() if kept
        ]
        what = [*merged.restored, *objects]
        if what:
            _log.info("restored from %s: %s", self._store.place, "; ".join(what))
        if merged.unused:
            unused = ", ".join(merged.unused)
            _log.info("kept the saved state of streams that are not configured now: %s", unused)

    def not_used(self, stream_id: str, record: StreamRecord) -> None:
        """Keep the state of a stream that cannot use it now, for another start."""
        self._unused[stream_id] = record
        self._objects.pop(stream_id, None)
        self._removed_objects.pop(stream_id, None)

    async def keep_copy(self) -> None:
        """Copy the state aside: the next write would lose objects that could not be resumed."""
        if not self._copied:
            self._copied = True
            await asyncio.to_thread(self._store.copy_aside)

    # While running, on the event loop.

    def streams_changed(self) -> None:
        """Save the streams soon: one was added, changed or removed."""
        self._changed.set()

    def objects_changed(self, stream_id: str) -> None:
        """Save a stream's objects soon: one was prompted, renamed or removed."""
        self._objects_changed.add(stream_id)
        self._changed.set()

    async def start(self) -> None:
        """Do nothing: ``open`` was called before."""

    def wants(self, item: Published) -> bool:
        """Whether ``item`` is an event that changed an object's memories."""
        return isinstance(item, StreamEvent) and (
            item.kind is EventKind.PROMPT_APPLIED
            or (item.kind is EventKind.REMOVED and item.reason in OBJECT_REMOVED)
        )

    async def publish(self, item: Published) -> None:
        """Record a change that ``wants`` accepted."""
        assert isinstance(item, StreamEvent)
        stream = self._streams().get(item.stream_id)
        if stream is None:
            return
        removed = self._removed_objects.setdefault(item.stream_id, set())
        if item.kind is EventKind.REMOVED:
            removed.update(each.id for each in stream.objects if each.id == item.object_id)
        else:
            removed.difference_update({item.object_id})
        self.objects_changed(item.stream_id)

    async def run(self) -> None:
        """Write changes, shortly after they come, until ``finish``."""
        while not self._finishing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_s if self._failing else None):
                    await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settle_s):
                    await self._finish_now.wait()
            if not self._finishing:
                await self._save()

    async def finish(self, timeout_s: float) -> None:
        """Write everything once more, while the objects can still be exported."""
        self._finishing = True
        self._finish_now.set()
        self._changed.set()
        if not self._opened:
            return
        self._objects_changed.update(self._streams())
        _, unfinished = await asyncio.wait({asyncio.ensure_future(self._save())}, timeout=timeout_s)
        if unfinished:
            _log.warning("the state was not written within %.1f s of shutdown", timeout_s)

    async def close(self) -> None:
        """Let other daemons in."""
        self._store.close()

    # Internals.

    async def _save(self) -> None:
        async with self._saving:
            if self._write is not None:  # of a save that was cancelled
                await asyncio.wait({self._write})
            self._changed.clear()
            if not self._opened:
                return
            exported = await self._export_objects()
            records = self._records()
            memories = {
                stream_id: {each.object_id: each.memory for each in kept}
                for stream_id, kept in exported.items()
            }
            self._write = asyncio.create_task(self._written(records, memories))
            _, late = await asyncio.wait({self._write}, timeout=self._late_s)
            if late:
                self._failed(f"no answer within {self._late_s:.0f} s")
            await asyncio.shield(self._write)

    async def _export_objects(self) -> dict[str, list[ObjectSnapshot]]:
        wanted = self._objects_changed.intersection(self._streams())
        self._objects_changed = set()
        exported: dict[str, list[ObjectSnapshot]] = {}
        for stream_id in sorted(wanted):
            try:
                exported[stream_id] = await self._export(stream_id)
            except ControlError:  # the tracker is busy: export with the next write
                self.objects_changed(stream_id)
            else:
                self._objects[stream_id] = [_record(each) for each in exported[stream_id]]
        return exported

    def _records(self) -> dict[str, StreamRecord]:
        streams = self._streams()
        for kept in (self._objects, self._removed_objects):
            for stream_id in set(kept).difference(streams):
                del kept[stream_id]
        records = dict(self._unused)
        records.update(
            (stream_id, StreamRecord("removed")) for stream_id in self._base.keys() - streams.keys()
        )
        for stream_id, config in streams.items():
            record = record_of(
                self._base.get(stream_id),
                config,
                self._objects.get(stream_id, ()),
                self._removed_objects.get(stream_id, ()),
                self._object_ids(stream_id),
                self._owner_set(stream_id),
            )
            if record.has_changes or self._saves_unchanged:
                records[stream_id] = record
        return records

    async def _written(
        self, records: Mapping[str, StreamRecord], memories: Mapping[str, Memories]
    ) -> None:
        try:
            # A thread of its own: a store that hangs must not hold up the end of the process.
            stale: list[str] = []
            await start_thread("state", lambda: stale.extend(self._store.save(records, memories)))
        except OSError as error:
            self._objects_changed.update(memories)
            self._failed(error.strerror or str(error))
        else:
            self._metrics.state_writes.labels("written").inc()
            if self._failing:
                self._failing = False
                _log.info("the state is written again")
            self._taken_elsewhere(stale)

    def _taken_elsewhere(self, stale: Collection[str]) -> None:
        """Do nothing: the store logged that these streams' state is another daemon's now."""

    def _failed(self, reason: str) -> None:
        self._metrics.state_writes.labels("failed").inc()
        if not self._failing:
            self._failing = True
            _log.warning(
                "the state cannot be written to %s (%s): the daemon continues, and retries "
                "every %.0f s; changes since are lost if it ends before",
                self._store.place,
                reason,
                self._retry_s,
            )


def _record(snapshot: ObjectSnapshot) -> ObjectRecord:
    return ObjectRecord(snapshot.object_id, snapshot.label, snapshot.colour)


def _listed(objects: Iterable[ObjectSnapshot]) -> str:
    names = [
        str(each.object_id) if each.label is None else f"{each.object_id} ({each.label})"
        for each in objects
    ]
    return f"object{'s' if len(names) > 1 else ''} {', '.join(names)}"

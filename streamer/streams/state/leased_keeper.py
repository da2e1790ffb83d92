"""Saves the streams that a fleet leases to this daemon, each from when it is taken until it leaves.

What the fleet wants of a stream stands where a daemon alone has its configuration file: the saved
record holds what was changed beyond it. Knows leases as fencing tokens only, no clock and no fleet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.errors import BusyError, ConfigError
from streamer.runtime.threads import report_failure, start_thread
from streamer.streams.state.keeper import Restored, StateKeeper
from streamer.streams.state.records import StreamRecord, merge, objects_to_restore
from streamer.streams.state.shared_store import Saved, SharedStore
from streamer.types import ObjectSnapshot

READ_S = 10.0
READS_AT_ONCE = 16
_log = logging.getLogger(__name__)


class LeasedKeeper(StateKeeper):
    """A ``StateKeeper`` that loads nothing at its start, and only saves claimed streams.

    Bounds: ``READS_AT_ONCE`` threads that read; one that hangs counts until it ends.
    """

    _saves_unchanged = True  # a write fences out the former holder

    def __init__(
        self,
        store: SharedStore,
        *,
        streams: Callable[[], Mapping[str, StreamConfig]],
        end: Callable[[str], Awaitable[None]],
        read_s: float = READ_S,
        **others: Any,
    ) -> None:
        """``end`` ends a stream that another daemon has by now; ``others`` as for
        ``StateKeeper``.
        """
        super().__init__(
            store,
            streams=lambda: {
                stream_id: config
                for stream_id, config in streams().items()
                if stream_id in self._leased
            },
            **others,
        )
        self._shared = store
        self._end = end
        self._read_s = read_s
        self._leased: set[str] = set()
        self._reads = 0
        self._endings: set[asyncio.Task[None]] = set()

    def open(self, config: MaskletConfig, *, fresh: bool) -> Restored:
        """Open the store. Raises ``ConfigError``, also for ``fresh``."""
        if fresh:
            raise ConfigError("--fresh is for a daemon alone, not with --leased: leave one out")
        self._config = config
        self._shared.open()
        self._opened = True
        return Restored({})

    async def claim(self, stream_id: str, wanted: StreamConfig, token: int) -> Restored:
        """What a stream continues with; ``hold`` it once it runs, else ``give_up``.

        Raises ``StaleTokenError`` if another has a greater token, ``BusyError`` if the store does
        not answer: without the state, ids and objects would begin anew.
        """
        found: list[Saved | None] = []
        if self._reads >= READS_AT_ONCE:
            raise BusyError(f"{self._reads} streams wait for {self._shared.place}; try again")
        self._reads += 1
        reading = start_thread(
            "state-read", lambda: found.append(self._shared.claim(stream_id, token))
        )
        reading.add_done_callback(self._has_read)
        try:
            async with asyncio.timeout(self._read_s):
                await asyncio.shield(reading)
        except OSError as error:  # also the time-out
            reason = str(error) or f"no answer within {self._read_s:g} s"
            raise BusyError(
                f"the state of {stream_id} cannot be read from {self._shared.place} ({reason}); "
                "try again"
            ) from None
        self._base[stream_id] = wanted
        config = self._config.changed(streams={stream_id: wanted})
        if found[0] is None:
            return Restored(config.streams)
        record, memories = found[0]
        # A stream that a user of this daemon removed is wanted again, with its used ids.
        if record.origin == "removed":
            record = StreamRecord("configured", next_object_id=record.next_object_id)
        merged = merge(config, {stream_id: record})
        for warning in merged.warnings:
            _log.warning("%s", warning)
        if stream_id not in merged.records:
            return Restored(config.streams)
        kept = [
            ObjectSnapshot(each.object_id, each.label, each.colour, memories[each.object_id])
            for each in objects_to_restore(merged.streams[stream_id], record)
            if each.object_id in memories
        ]
        self._removed_objects[stream_id] = set(record.removed_objects)
        return Restored(merged.streams, merged.records, {stream_id: kept})

    def hold(self, stream_id: str) -> None:
        """Save a claimed stream from now on, at once: that fences out its former holder."""
        self._leased.add(stream_id)
        self.objects_changed(stream_id)

    async def save_now(self, stream_id: str) -> None:
        """Write a stream's newest state. Raises ``BusyError`` if that fails or takes long."""
        self.objects_changed(stream_id)
        try:
            async with asyncio.timeout(self._read_s):
                await self._save()
        except TimeoutError:
            self._failed(f"no answer within {self._read_s:g} s")
        if self._failing or stream_id in self._objects_changed:
            self.objects_changed(stream_id)
            raise BusyError(
                f"the state of {stream_id} cannot be written to {self._shared.place}; it continues "
                "here; try again"
            )

    def give_up(self, stream_id: str) -> None:
        """Save a stream no more; what is saved stays for its next holder."""
        self._leased.discard(stream_id)
        self._base.pop(stream_id, None)
        self._shared.give_up(stream_id)

    def holds(self, stream_id: str) -> bool:
        """Whether this daemon saves a stream."""
        return stream_id in self._leased

    def not_used(self, stream_id: str, record: StreamRecord) -> None:
        """Do nothing: the fleet is answered why a stream cannot start, and its state stays."""

    def _records(self) -> dict[str, StreamRecord]:
        for stream_id in self._leased.difference(self._streams()):  # removed by a user
            self._leased.discard(stream_id)
            del self._base[stream_id]
        records = super()._records()
        return {stream_id: each for stream_id, each in records.items() if stream_id in self._leased}

    def _taken_elsewhere(self, stale: Collection[str]) -> None:
        for stream_id in stale:
            self.give_up(stream_id)
            task = asyncio.ensure_future(self._ended(stream_id))
            task.set_name(f"end-{stream_id}")
            task.add_done_callback(report_failure)
            task.add_done_callback(self._endings.discard)
            self._endings.add(task)

    async def _ended(self, stream_id: str) -> None:
        _log.warning("%s ends here: another daemon of the fleet has it", stream_id)
        await self._end(stream_id)

    def _has_read(self, reading: asyncio.Future[None]) -> None:
        self._reads -= 1
        if not reading.cancelled():
            reading.exception()  # of a read that nothing waits for any more

"""The streams that run: begun, changed, paused and removed, or gone on with after a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from streamer.config.schema import MaskletConfig
from streamer.config.stream_changes import (
    changed_stream,
    settings_that_differ,
)
from streamer.config.streams import StreamConfig
from streamer.errors import (
    BusyError,
    ControlError,
    MaskletError,
    StreamExistsError,
    UnknownStreamError,
)
from streamer.inference.box_smoothing import (
    BoxSmoothing,
    Smoothing,
)
from streamer.inference.commands import InferenceCommands
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.preparation import (
    IN_RGB,
    Preparation,
)
from streamer.inference.prompts.request import configured_prompts
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.keeper import (
    Restored,
    StateKeeper,
)
from streamer.streams.state.records import (
    StreamRecord,
    ids_of,
    objects_to_prompt,
)
from streamer.streams.stream import (
    MakeSource,
    Stream,
)
from streamer.types import ObjectSnapshot, Published, StreamState, StreamStatus

STREAM_REMOVED = "stream_removed"  # a ``reason`` of events and of the last status
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """One stream's parts."""

    config: StreamConfig
    stream: Stream
    slot: FrameSlot
    counts: StreamCounts
    object_ids: ObjectIds
    task: asyncio.Task[None]


class Streams:
    """All streams of the daemon, at most ``maximum``. Used on the event loop.

    They are changed one after the other, and what is refused changes nothing. Every method
    that is given the id of a stream raises ``UnknownStreamError`` when there is none.
    """

    def __init__(
        self,
        config: MaskletConfig,
        *,
        maximum: int,
        make_source: MakeSource,
        end_publishing: Callable[[str], Awaitable[None]],
        commands: InferenceCommands,
        publish: Callable[[Published], None],
        state: StateKeeper | None,
        metrics: Metrics,
        clock: Clock,
        preparation: Preparation = IN_RGB,
    ) -> None:
        """``config`` is what a further stream has to go with; ``end_publishing`` sends away who
        publishes to a stream, ``state`` is told what to keep.
        """
        self._config = config
        self._maximum = maximum
        self._make_source = make_source
        self._end_publishing = end_publishing
        self._commands = commands
        self._publish = publish
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._preparation = preparation
        self._random = Random()
        self._running: dict[str, _Running] = {}
        self._changing = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None

    # What they are.

    def statuses(self) -> list[StreamStatus]:
        """How every stream does."""
        return [running.stream.status() for running in self._running.values()]

    def configs(self) -> dict[str, StreamConfig]:
        """The settings of every stream, by id."""
        return {stream_id: running.config for stream_id, running in self._running.items()}

    def config(self, stream_id: str) -> StreamConfig:
        """The settings a stream runs with."""
        return self._known(stream_id).config

    def state(self, stream_id: str) -> StreamState:
        """Where a stream stands."""
        return self._known(stream_id).stream.state

    def object_ids(self, stream_id: str) -> ObjectIds:
        """The ids that a stream's objects ever had."""
        return self._known(stream_id).object_ids

    def live(self) -> int:
        """How many streams give the tracker frames. May be called from any thread."""
        return sum(
            running.stream.state is StreamState.LIVE and not running.config.paused
            for running in tuple(self._running.values())
        )

    # What can be done with them.

    async def add(self, stream_id: str, config: StreamConfig) -> None:
        """Begin another stream. Raises ``ConfigError``, ``StreamExistsError``, ``ControlError``."""
        async with self._changing:
            if stream_id in self._running:
                raise StreamExistsError(f"there is a stream {stream_id} already; remove it first")
            self._check_with(stream_id, config)
            await self._begin(stream_id, config)
        self._changed()

    async def add_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """``add`` with what stands under ``streams.ID`` in a file."""
        await self.add(stream_id, StreamConfig.read(settings, f"streams.{stream_id}"))

    async def change(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Change some settings of a stream, given as under ``streams.ID``; its objects stay.

        The camera is connected anew only where the change concerns it. Raises ``ConfigError``,
        and ``ControlError`` for a ``max_objects`` below the objects followed.
        """
        async with self._changing:
            running = self._known(stream_id)
            changed = changed_stream(
                f"streams.{stream_id}", running.config, settings, self._config.starter
            )
            self._check_with(stream_id, changed)
            self._make_source(stream_id, changed)  # opens nothing, but refuses what cannot work
            before = running.config
            differing = settings_that_differ(changed, before)
            if not differing.keys().isdisjoint(("max_objects", "priority", "smoothing")):
                # One command: of several the first could be done before the queue is full.
                smoothing = _smoothing(changed) if "smoothing" in differing else None
                await asyncio.wrap_future(
                    self._commands.change_stream(
                        stream_id,
                        max_objects=changed.max_objects,
                        priority=changed.priority,
                        smoothing=smoothing,
                    )
                )
            running.stream.change(changed)
            self._running[stream_id] = dataclasses.replace(running, config=changed)
            if changed.url != before.url:
                await self._end_publishing(stream_id)
        self._changed()

    async def pause(self, stream_id: str) -> None:
        """Stop tracking a stream; its camera stays connected."""
        await self.change(stream_id, {"paused": True})

    async def resume(self, stream_id: str) -> None:
        """Track a paused stream again."""
        await self.change(stream_id, {"paused": False})

    async def remove(self, stream_id: str) -> None:
        """End a stream and remove its objects and its metrics."""
        async with self._changing:
            running = self._known(stream_id)
            running.stream.request_stop(STREAM_REMOVED)
            await asyncio.wait({running.task})
            running.slot.close()
            await asyncio.wrap_future(self._commands.remove_stream(stream_id, STREAM_REMOVED))
            running.counts.close()
            del self._running[stream_id]
            await self._end_publishing(stream_id)
        self._changed()

    # With the daemon.

    async def start(self, tasks: asyncio.TaskGroup, restored: Restored) -> None:
        """Begin the streams that the daemon starts with, as tasks of ``tasks``.

        Raises ``MaskletError`` for one of the configuration that cannot work.
        """
        async with self._changing:  # the API is up already, and may be asked for one of them
            self._tasks = tasks
            for stream_id in restored.streams:
                await self._begin_as_kept(stream_id, restored)

    async def stop(self, reason: str) -> None:
        """End all streams, within a second. What they were can still be asked for."""
        for running in self._running.values():
            running.stream.request_stop(reason)
        if self._running:
            await asyncio.wait({running.task for running in self._running.values()})
        for running in self._running.values():
            running.slot.close()

    # Inside.

    def _known(self, stream_id: str) -> _Running:
        running = self._running.get(stream_id)
        if running is None:
            known = ", ".join(self._running) or "none"
            raise UnknownStreamError(f"there is no stream {stream_id!r}; streams here: {known}")
        return running

    def _check_with(self, stream_id: str, config: StreamConfig) -> None:
        """Raise ``ConfigError`` for settings that cannot work beside those of the others."""
        self._config.changed(streams={**self.configs(), stream_id: config})

    def _changed(self) -> None:
        if self._state is not None:
            self._state.streams_changed()

    async def _begin_as_kept(self, stream_id: str, restored: Restored) -> None:
        """Begin a stream as it was left; as the file has it, where that does not work any more."""
        record = restored.records.get(stream_id)
        kept = restored.objects.get(stream_id, ())
        try:
            await self._begin(stream_id, restored.streams[stream_id], record, kept)
        except MaskletError as error:
            if record is None or self._state is None:
                raise
            _log.warning("what was kept of stream %s is not used: %s", stream_id, error)
            self._state.not_used(stream_id, record)
            if stream_id in self._config.streams:
                await self._begin(stream_id, self._config.streams[stream_id])

    async def _begin(
        self,
        stream_id: str,
        config: StreamConfig,
        record: StreamRecord | None = None,
        kept: Sequence[ObjectSnapshot] = (),
    ) -> None:
        """Begin a stream; ``record`` and ``kept`` are what an earlier run left of it."""
        if self._tasks is None:
            raise BusyError(
                "the daemon is starting, its model warms up; try again when it is ready"
            )
        if len(self._running) >= self._maximum:
            raise ControlError(f"{self._maximum} streams run already; remove one first")
        requests = configured_prompts(stream_id, config.objects)
        self._make_source(stream_id, config)  # opens nothing, but refuses what cannot work
        object_ids = ids_of(record)
        for object_id in (each.prompt.object_id for each in requests):
            object_ids.use(object_id)
        for object_id in (each.object_id for each in kept):
            object_ids.use(object_id)
        counts = StreamCounts(stream_id, self._metrics)
        slot = FrameSlot(stream_id, on_filled=self._commands.wake, on_dropped=counts.dropped)
        stream = Stream(
            stream_id,
            config,
            make_source=self._make_source,
            slot=slot,
            counts=counts,
            publish=self._publish,
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
            preparation=self._preparation,
        )
        await asyncio.wrap_future(
            self._commands.add_stream(slot, counts, config.max_objects, (), config.priority)
        )
        try:
            await asyncio.wrap_future(
                self._commands.change_stream(stream_id, smoothing=_smoothing(config))
            )
            known = await self._restore(stream_id, kept)
            wanted = {each.id for each in objects_to_prompt(config, record, known)}
            for request in requests:
                if request.prompt.object_id in wanted:
                    self._commands.prompt(request)
        except BusyError:
            # In the order of asking, so that one of this name may be begun at once.
            with suppress(BusyError):
                self._commands.remove_stream(stream_id, STREAM_REMOVED)
            counts.close()
            raise
        task = self._tasks.create_task(stream.run(), name=f"stream-{stream_id}")
        self._running[stream_id] = _Running(config, stream, slot, counts, object_ids, task)

    async def _restore(self, stream_id: str, kept: Sequence[ObjectSnapshot]) -> set[int]:
        """Go on with kept objects; the ids of those that the tracker knows again."""
        known = set()
        for each in kept:
            try:
                await asyncio.wrap_future(self._commands.restore(stream_id, each))
            except ControlError as error:
                name = each.object_id if each.label is None else f"{each.object_id} ({each.label})"
                _log.warning("%s: object %s has to be shown anew: %s", stream_id, name, error)
            else:
                known.add(each.object_id)
        if len(known) < len(kept) and self._state is not None:
            await self._state.keep_copy()
        return known


def _smoothing(config: StreamConfig) -> Smoothing:
    wanted = config.smoothing
    boxes = BoxSmoothing(wanted.box_cutoff_hz, wanted.box_speed_factor)
    return Smoothing(boxes if wanted.boxes else None, wanted.masks)

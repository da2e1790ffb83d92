"""The running streams: added, changed, paused, removed, and restored after a restart."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from streamer.config.schema import MaskletConfig
from streamer.config.stream_changes import changed_stream, settings_that_differ
from streamer.config.streams import StreamConfig
from streamer.errors import (
    BusyError,
    ControlError,
    MaskletError,
    StreamExistsError,
    UnknownStreamError,
)
from streamer.inference.box_smoothing import BoxSmoothing, Smoothing
from streamer.inference.commands import InferenceCommands
from streamer.inference.device import Device
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.prompts.request import PromptRequest, configured_prompts
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.streams.object_ids import ObjectIds
from streamer.streams.state.keeper import Restored, StateKeeper
from streamer.streams.state.records import StreamRecord, ids_of, objects_to_prompt
from streamer.streams.state.saved_connection import RULED, owner_set_after
from streamer.streams.stream import MakeSource, Stream
from streamer.types import ObjectSnapshot, Published, StreamState, StreamStatus

STREAM_REMOVED = "stream_removed"  # a ``reason`` of events and of the last status
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """The parts of one stream."""

    device: Device
    config: StreamConfig
    stream: Stream
    slot: FrameSlot
    counts: StreamCounts
    object_ids: ObjectIds
    owner_set: frozenset[str]
    task: asyncio.Task[None]


class Streams:
    """All streams of the daemon, at most ``maximum``. Used on the event loop.

    Changes are carried out one at a time, and a refused one changes nothing. Every method with a
    stream's id raises ``UnknownStreamError`` for an unknown one.
    """

    def __init__(
        self,
        config: MaskletConfig,
        *,
        maximum: int,
        make_source: MakeSource,
        end_publishing: Callable[[str], Awaitable[None]],
        devices: Sequence[Device],
        publish: Callable[[Published], None],
        state: StateKeeper | None,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """``config`` is validated together with each further stream; ``end_publishing``
        disconnects a stream's publisher, ``state`` is notified of changes. A stream is tracked by
        the one of ``devices`` that has the fewest streams when it is added.
        """
        self._config = config
        self._maximum = maximum
        self._make_source = make_source
        self._end_publishing = end_publishing
        self._devices = devices
        self._publish = publish
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._random = Random()
        self._running: dict[str, _Running] = {}
        self._changing = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None

    # Queries.

    def statuses(self) -> list[StreamStatus]:
        """The status of every stream."""
        return [running.stream.status() for running in self._running.values()]

    def configs(self) -> dict[str, StreamConfig]:
        """The settings of every stream, by id."""
        return {stream_id: running.config for stream_id, running in self._running.items()}

    def config(self, stream_id: str) -> StreamConfig:
        """The present settings of a stream."""
        return self._known(stream_id).config

    def state(self, stream_id: str) -> StreamState:
        """The state of a stream's connection."""
        return self._known(stream_id).stream.state

    def object_ids(self, stream_id: str) -> ObjectIds:
        """The used object ids of a stream."""
        return self._known(stream_id).object_ids

    def owner_set(self, stream_id: str) -> frozenset[str]:
        """Which of ``RULED`` the daemon's user set, so that the API's rules do not hold for it."""
        return self._known(stream_id).owner_set

    def live(self, stream_ids: Collection[str]) -> int:
        """How many of these streams deliver frames. May be called from any thread."""
        return sum(
            running.stream.state is StreamState.LIVE and not running.config.paused
            for stream_id, running in tuple(self._running.items())
            if stream_id in stream_ids
        )

    def commands(self, stream_id: str) -> InferenceCommands:
        """The commands of the tracker that tracks a stream."""
        return self._known(stream_id).device.commands

    # Commands.

    async def add(self, stream_id: str, config: StreamConfig, *, by_owner: bool = True) -> None:
        """Start another stream. Raises ``ConfigError``, ``StreamExistsError``, ``ControlError``.

        ``by_owner``: the daemon's user adds it, and the API's rules do not hold for it.
        """
        async with self._changing:
            if stream_id in self._running:
                raise StreamExistsError(f"there is a stream {stream_id} already; remove it first")
            self._check_with(stream_id, config)
            await self._start(stream_id, config, owner_set=frozenset(RULED if by_owner else ()))
        self._changed()

    async def add_from(
        self, stream_id: str, settings: Mapping[str, Any], *, by_owner: bool = True
    ) -> None:
        """``add`` with settings as under ``streams.ID`` in a file."""
        config = StreamConfig.read(settings, f"streams.{stream_id}")
        await self.add(stream_id, config, by_owner=by_owner)

    async def change(
        self, stream_id: str, settings: Mapping[str, Any], *, by_owner: bool = True
    ) -> None:
        """Change some settings of a stream, given as under ``streams.ID``; its objects stay.

        The camera is reconnected only if the change affects it. Raises ``ConfigError``, and
        ``ControlError`` for a ``max_objects`` below the number of tracked objects.
        """
        async with self._changing:
            running = self._known(stream_id)
            changed = changed_stream(
                f"streams.{stream_id}", running.config, settings, self._config.starter
            )
            owner_set = owner_set_after(running.owner_set, settings, by_owner=by_owner)
            await self._change(stream_id, running, changed, owner_set)
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
            removed = running.device.commands.remove_stream(stream_id, STREAM_REMOVED)
            await asyncio.wrap_future(removed)
            running.counts.close()
            del self._running[stream_id]
            await self._end_publishing(stream_id)
        self._changed()

    async def take(self, stream_id: str, restored: Restored) -> None:
        """Start a stream with its ``restored`` state, or resume that in a stream without objects.

        The latter keeps its connection. Raises as ``add`` and ``change`` do, and ``ControlError``
        for a stream that has objects.
        """
        config = restored.streams[stream_id]
        record = restored.records.get(stream_id)
        saved = restored.objects.get(stream_id, ())
        owner_set = frozenset(RULED if record is None else record.owner_set)
        async with self._changing:
            running = self._running.get(stream_id)
            if running is None:
                self._check_with(stream_id, config)
                await self._start(stream_id, config, record, saved, owner_set)
                return
            if running.stream.status().object_ids or running.config.objects:
                raise ControlError(f"the stream {stream_id} has objects; end it here first")
            requests = configured_prompts(stream_id, config.objects)
            ids = _used_ids(record, requests, saved)
            running = dataclasses.replace(running, object_ids=ids)
            await self._change(stream_id, running, config.changed(paused=True), owner_set)
            commands = running.device.commands
            await self._resume(commands, stream_id, config, record, saved, requests)
            await self._change(stream_id, self._running[stream_id], config, owner_set)

    # Start and stop of the daemon.

    async def start(self, tasks: asyncio.TaskGroup, restored: Restored) -> None:
        """Start the ``restored`` streams, as tasks of ``tasks``.

        Raises ``MaskletError`` for a configured stream that cannot work.
        """
        async with self._changing:  # the API is already up, and may get commands for them
            self._tasks = tasks
            for stream_id in restored.streams:
                await self._start_saved(stream_id, restored)

    async def stop(self, reason: str) -> None:
        """End all streams, within a second. Their last status stays available."""
        for running in self._running.values():
            running.stream.request_stop(reason)
        if self._running:
            await asyncio.wait({running.task for running in self._running.values()})
        for running in self._running.values():
            running.slot.close()

    # Internals.

    def _known(self, stream_id: str) -> _Running:
        running = self._running.get(stream_id)
        if running is None:
            known = ", ".join(self._running) or "none"
            raise UnknownStreamError(f"there is no stream {stream_id!r}; streams here: {known}")
        return running

    def _check_with(self, stream_id: str, config: StreamConfig) -> None:
        """Raise ``ConfigError`` for settings that conflict with those of other streams."""
        self._config.changed(streams={**self.configs(), stream_id: config})

    def _changed(self) -> None:
        if self._state is not None:
            self._state.streams_changed()

    async def _change(
        self, stream_id: str, running: _Running, changed: StreamConfig, owner_set: frozenset[str]
    ) -> None:
        self._check_with(stream_id, changed)
        self._make_source(stream_id, changed)  # checks the settings; opens nothing
        before = running.config
        differing = settings_that_differ(changed, before)
        if not differing.keys().isdisjoint(("max_objects", "priority", "smoothing")):
            # One command: of several, only the first might fit into the queue.
            smoothing = _smoothing(changed) if "smoothing" in differing else None
            await asyncio.wrap_future(
                running.device.commands.change_stream(
                    stream_id,
                    max_objects=changed.max_objects,
                    priority=changed.priority,
                    smoothing=smoothing,
                )
            )
        running.stream.change(changed)
        self._running[stream_id] = dataclasses.replace(running, config=changed, owner_set=owner_set)
        if changed.url != before.url:
            await self._end_publishing(stream_id)

    async def _start_saved(self, stream_id: str, restored: Restored) -> None:
        """Start a stream as it was saved, or as configured if that does not work any more."""
        record = restored.records.get(stream_id)
        saved = restored.objects.get(stream_id, ())
        try:
            await self._start(stream_id, restored.streams[stream_id], record, saved)
        except MaskletError as error:
            if record is None or self._state is None:
                raise
            _log.warning("the saved state of stream %s is not used: %s", stream_id, error)
            self._state.not_used(stream_id, record)
            if stream_id in self._config.streams:
                await self._start(stream_id, self._config.streams[stream_id])

    async def _start(
        self,
        stream_id: str,
        config: StreamConfig,
        record: StreamRecord | None = None,
        saved: Sequence[ObjectSnapshot] = (),
        owner_set: frozenset[str] = frozenset(),
    ) -> None:
        """Start a stream; ``record`` and ``saved`` are its state of an earlier run."""
        if self._tasks is None:
            raise BusyError(
                "the daemon is starting and its model warms up; try again when it is ready"
            )
        if len(self._running) >= self._maximum:
            raise ControlError(f"{self._maximum} streams run already; remove one first")
        requests = configured_prompts(stream_id, config.objects)
        self._make_source(stream_id, config)  # checks the settings; opens nothing
        object_ids = _used_ids(record, requests, saved)
        counts = StreamCounts(stream_id, self._metrics)
        device = self._next_device()
        commands = device.commands
        slot = FrameSlot(stream_id, on_filled=commands.wake, on_dropped=counts.dropped)
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
            preparation=device.preparation,
        )
        await asyncio.wrap_future(
            commands.add_stream(slot, counts, config.max_objects, (), config.priority)
        )
        try:
            await asyncio.wrap_future(
                commands.change_stream(stream_id, smoothing=_smoothing(config))
            )
            await self._resume(commands, stream_id, config, record, saved, requests)
        except BusyError:
            # Commands run in order: another stream of this id may be started at once.
            with suppress(BusyError):
                commands.remove_stream(stream_id, STREAM_REMOVED)
            counts.close()
            raise
        if len(self._devices) > 1:
            _log.info("%s: tracked on %s", stream_id, device.name)
        task = self._tasks.create_task(stream.run(), name=f"stream-{stream_id}")
        if record is not None:
            owner_set = frozenset(record.owner_set)
        self._running[stream_id] = _Running(
            device, config, stream, slot, counts, object_ids, owner_set, task
        )

    def _next_device(self) -> Device:
        """The one with the fewest streams, the first of these."""
        taken = [running.device for running in self._running.values()]
        return min(self._devices, key=lambda each: sum(each is own for own in taken))

    async def _resume(
        self,
        commands: InferenceCommands,
        stream_id: str,
        config: StreamConfig,
        record: StreamRecord | None,
        saved: Sequence[ObjectSnapshot],
        requests: Sequence[PromptRequest],
    ) -> None:
        """Resume the saved objects, and prompt the configured ones that are not among them."""
        known = await self._restore(commands, stream_id, saved)
        wanted = {each.id for each in objects_to_prompt(config, record, known)}
        for request in requests:
            if request.prompt.object_id in wanted:
                commands.prompt(request)

    async def _restore(
        self, commands: InferenceCommands, stream_id: str, saved: Sequence[ObjectSnapshot]
    ) -> set[int]:
        """Resume saved objects; returns the ids of those that the tracker accepted."""
        known = set()
        for each in saved:
            try:
                await asyncio.wrap_future(commands.restore(stream_id, each))
            except ControlError as error:
                name = each.object_id if each.label is None else f"{each.object_id} ({each.label})"
                _log.warning("%s: object %s must be prompted again: %s", stream_id, name, error)
            else:
                known.add(each.object_id)
        if len(known) < len(saved) and self._state is not None:
            await self._state.keep_copy()
        return known


def _used_ids(
    record: StreamRecord | None,
    requests: Sequence[PromptRequest],
    saved: Sequence[ObjectSnapshot],
) -> ObjectIds:
    ids = ids_of(record)
    for object_id in (
        *(each.prompt.object_id for each in requests),
        *(each.object_id for each in saved),
    ):
        ids.use(object_id)
    return ids


def _smoothing(config: StreamConfig) -> Smoothing:
    wanted = config.smoothing
    boxes = BoxSmoothing(wanted.box_cutoff_hz, wanted.box_speed_factor)
    return Smoothing(boxes if wanted.boxes else None, wanted.masks)

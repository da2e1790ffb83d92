"""THE wiring: builds every part in the order data meets it, and runs them in one task group.

    camera → Stream → FrameSlot → Inference (Scheduler, Tracker) → Fanout → sinks → consumers
             thread   newest      thread: all streams and          one      ZeroMQ
             each     frame wins  objects in one batch             queue
                                                                   each
    ControlServer → App.prompt … → Inference, between two steps

Three phases: ``_start`` (from the consumers' end, so that nothing is lost), ``_serve``, and
``_shutdown`` (from the cameras' end, so that what was seen is still sent).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from random import Random
from typing import Any

from streamer.api.api import Api
from streamer.config import MaskletConfig, StreamConfig
from streamer.config_checks import validate
from streamer.config_values import build
from streamer.control_server import ControlServer
from streamer.errors import (
    ConfigError,
    ControlError,
    MaskletError,
    StreamExistsError,
    UnknownObjectError,
    UnknownStreamError,
)
from streamer.fanout import Fanout
from streamer.frame_slot import FrameSlot
from streamer.inference import SHUTDOWN, Inference
from streamer.metrics import Metrics
from streamer.metrics_server import MetricsServer
from streamer.object_ids import ObjectIds
from streamer.prompts import (
    PromptOutcome,
    PromptRequest,
    configured_prompts,
    new_request_id,
)
from streamer.scheduler import Scheduler
from streamer.sinks.base import Sink
from streamer.sinks.zeromq import ZeroMQSink
from streamer.sources import make_source
from streamer.sources.whip import WHIP_URL
from streamer.state import StreamRecord, ids_of, objects_to_prompt
from streamer.state_folder import state_folder
from streamer.state_keeper import StateKeeper, TakenUp
from streamer.stream import MakeSource, Stream
from streamer.stream_counts import StreamCounts
from streamer.stream_settings import changed_stream
from streamer.threads import start_thread
from streamer.timing import Clock, SystemClock, seconds_to_ns
from streamer.types import (
    FrameMoment,
    ObjectSummary,
    RememberedObject,
    StreamState,
    StreamStatus,
)
from streamer.webrtc.publishers import Publishers
from streamer.webrtc.whip import Whip
from tracker import Prompt, Tracker, TrackerOptions

MAXIMUM_STREAMS = 64
FRAMES_PER_BATCH = 16
DROP_REPORT_S = 60.0
INFERENCE_THREAD = "inference"
STREAM_REMOVED = "stream_removed"  # a ``reason`` of events and of the last status
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a started daemon is reached; None for what is switched off."""

    zeromq: str
    control: str
    metrics: str | None
    api: str | None


@dataclass(frozen=True, slots=True)
class _Running:
    """One stream's parts."""

    config: StreamConfig
    stream: Stream
    slot: FrameSlot
    counts: StreamCounts
    object_ids: ObjectIds
    task: asyncio.Task[None]


class App:
    """The daemon. ``await run()`` on an event loop; use the other methods on the same loop.

    ``started`` is set once everything listens and the configured streams are connecting.
    """

    def __init__(
        self,
        config: MaskletConfig,
        *,
        tracker: Tracker | None = None,
        further_sinks: Sequence[Sink] = (),
        make_source: MakeSource = make_source,
        clock: Clock | None = None,
        fresh: bool = False,
    ) -> None:
        """Build everything; nothing listens or runs yet.

        ``further_sinks`` receive what the ZeroMQ publisher does. ``fresh`` sets aside what was
        kept of an earlier run. Raises ``ConfigError`` for a
        configuration that cannot work and ``CheckpointError`` for a model that does not load.
        """
        validate(config)
        self.config = config
        self.started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._clock = clock or SystemClock()
        self._random = Random()
        self._streams: dict[str, _Running] = {}
        self._changing_streams = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None
        self._background: list[asyncio.Task[None]] = []
        self._inference_ended: asyncio.Future[None] | None = None

        self.metrics = Metrics()
        self._publishers = Publishers(config.webrtc, self.metrics)
        self._make_source = self._publishers.among(make_source)
        self.whip = Whip(
            self._publishers,
            stream_config=lambda stream_id: (
                self._streams[stream_id].config if stream_id in self._streams else None
            ),
            begin_stream=self._begin_published_stream if config.webrtc.create_streams else None,
        )
        self._tracker = tracker or make_tracker(config)
        self.metrics.build_info.labels(
            version("masklet"), self._tracker.config.name, str(self._tracker.device)
        ).set(1)
        self._api = (
            Api(
                self,
                config,
                whip=self.whip,
                ice_settings=self._publishers.ice_settings,
                metrics=self.metrics,
                maximum_streams=MAXIMUM_STREAMS,
                clock=self._clock,
            )
            if config.api.enabled
            else None
        )
        self._zeromq = ZeroMQSink(
            config.zeromq,
            publisher_id=socket.gethostname(),
            metrics=self.metrics,
            status_provider=self.statuses,
            heartbeat_s=config.heartbeat_s,
            status_s=config.status_s,
        )
        self._fresh = fresh
        self._state = self._make_state_keeper()
        self._sinks: tuple[Sink, ...] = (
            self._zeromq,
            *(self._api.sinks if self._api else ()),
            *([self._state] if self._state else []),
            *further_sinks,
        )
        self._fanout = Fanout(
            self._sinks, self.metrics, self._clock, on_frame_taken=lambda: self._inference.wake()
        )
        self._inference = Inference(
            self._tracker,
            Scheduler(seconds_to_ns(config.max_batch_wait_ms / 1000), FRAMES_PER_BATCH),
            publish=self._fanout.publish,
            is_unpublished=self._fanout.holds_frame_of,
            live_streams=self._live_streams,
            metrics=self.metrics,
            clock=self._clock,
            occluded_to_lost_s=config.tracking.occluded_to_lost_s,
            history_s=config.history.duration_s,
            history_bytes=round(config.history.mib * 2**20),
            threads=config.model.threads,
        )
        self._control = ControlServer(config.control.endpoint, self)
        self._metrics_server = (
            MetricsServer(self.metrics, config.metrics.host, config.metrics.port)
            if config.metrics.enabled
            else None
        )

    # The three phases.

    async def run(self) -> int:
        """Start, serve until ``request_stop``, shut down; the exit code.

        Raises an ``ExceptionGroup`` when a part fails that the daemon cannot do without.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._start(tasks)
                await self._serve()
            finally:
                await self._shutdown()
        return 0

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        if self._metrics_server is not None:
            await self._metrics_server.start()
        if self._api is not None:
            self._api.bind()
        for sink in self._sinks:
            await sink.start()
        self._fanout.start(tasks)
        await self._control.start()
        taken_up = TakenUp(self.config.streams)
        if self._state is not None:
            taken_up = await asyncio.to_thread(self._state.open, self.config, fresh=self._fresh)
        self._inference_ended = start_thread(INFERENCE_THREAD, self._inference.run)
        self._in_background(self._inference_ended_by_itself(self._inference_ended))
        for stream_id in taken_up.streams:
            await self._begin_as_kept(stream_id, taken_up)
        if self._state is not None:
            tasks.create_task(self._state.run(), name="state")
        self._in_background(self._control.run(tasks))
        if self._api is not None:
            self._api.start()
            self._in_background(self._api.run())
        self._in_background(self._report_drops())

    async def _serve(self) -> None:
        endpoints = self.endpoints
        _log.info(
            "serving %d streams; results at %s, commands at %s, metrics at %s, page and API at %s",
            len(self._streams),
            endpoints.zeromq,
            endpoints.control,
            endpoints.metrics or "no address",
            endpoints.api or "no address",
        )
        self.started.set()
        await self._stopping.wait()

    async def _shutdown(self) -> None:
        """Bounded by ``shutdown_timeout_s``: what does not end in its share of it is left."""
        if self.started.is_set():
            _log.info("stopping")
        self._stopping.set()
        share_s = self.config.shutdown_timeout_s / 5
        for task in self._background:
            task.cancel()
        await self._control.close()
        if self._api is not None:
            await self._api.close(share_s)
        for running in self._streams.values():
            running.stream.request_stop(SHUTDOWN)
        if self._streams:
            await asyncio.wait({running.task for running in self._streams.values()})
        await asyncio.wait({asyncio.ensure_future(self._publishers.close())}, timeout=share_s)
        for running in self._streams.values():
            running.slot.close()
        if self._state is not None and self.started.is_set():
            await self._state.finish(share_s)
        self._inference.stop()
        if self._inference_ended is not None:
            await asyncio.wait({self._inference_ended}, timeout=share_s)
        await self._fanout.drain(share_s)
        for sink in self._sinks:
            await self._close(sink, share_s)
        if self._metrics_server is not None:
            await self._metrics_server.close()
        if self.started.is_set():
            _log.info("stopped")

    @staticmethod
    async def _close(sink: Sink, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await sink.close()
        except TimeoutError:
            _log.warning("sink %s did not close within %.1f s", sink.name, timeout_s)
        except (MaskletError, OSError) as error:
            _log.warning("sink %s did not close: %s", sink.name, error)

    # What the daemon can be asked, in the process and over the control socket.

    def request_stop(self) -> None:
        """Let ``run`` shut down and return."""
        self._stopping.set()

    @property
    def endpoints(self) -> Endpoints:
        """Where everything listens, with the ports that are really used; once started."""
        return Endpoints(
            zeromq=self._zeromq.endpoint,
            control=self._control.endpoint,
            metrics=self._metrics_server.endpoint if self._metrics_server else None,
            api=self._api.endpoint if self._api else None,
        )

    def not_ready(self) -> list[str]:
        """The parts that do not run and without which no result is made or sent."""
        missing = []
        if not self.started.is_set():
            missing.append("start")
        if self._stopping.is_set():
            missing.append("stopping")
        if self._inference_ended is None or self._inference_ended.done():
            missing.append(INFERENCE_THREAD)
        return missing

    def model_name(self) -> str:
        """The network's name."""
        return self._tracker.config.name

    def device_name(self) -> str:
        """Where the network runs."""
        return str(self._tracker.device)

    def statuses(self) -> list[StreamStatus]:
        """How every stream does."""
        return [running.stream.status() for running in self._streams.values()]

    def objects(self, stream_id: str) -> list[ObjectSummary]:
        """The objects of a stream as its newest frame had them. Raises ``UnknownStreamError``."""
        self._known(stream_id)
        return self._inference.objects(stream_id)

    def next_object_id(self, stream_id: str) -> int:
        """The smallest id, from 1 on, that no object of this stream ever had.

        It is taken by ``prompt``, at once when that is called. Raises ``UnknownStreamError``.
        """
        return self._known(stream_id).object_ids.next_unused()

    async def prompt(
        self,
        stream_id: str,
        prompt: Prompt,
        label: str | None = None,
        *,
        colour: str | None = None,
        moment: FrameMoment | None = None,
        correct: bool = False,
        request_id: str | None = None,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        """Apply a prompt on the stream's next frame, or on the frame of ``moment``.

        ``correct`` refines an object that is followed where it was found on that frame (without
        a moment: the newest); otherwise the object starts there, anew if it was followed. The
        outcome says whether it was applied, with the object's track on that frame and on the
        newest, or why not; a prompt that was not begun within ``timeout_s`` is withdrawn.
        The events ``prompt_applied`` and ``prompt_rejected`` carry ``request_id``. Raises
        ``UnknownStreamError``, and ``BusyError`` when too many commands wait.
        """
        self._known(stream_id).object_ids.use(prompt.object_id)
        request = PromptRequest(
            stream_id,
            prompt,
            label,
            colour=colour,
            moment=moment,
            correct=correct,
            request_id=request_id or new_request_id(),
        )
        return await self._outcome(request, timeout_s)

    async def preview(
        self,
        stream_id: str,
        prompt: Prompt,
        *,
        moment: FrameMoment | None = None,
        correct: bool = False,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        """What ``prompt`` would find on that frame (without a moment: the newest).

        Changes and publishes nothing. The frame is kept for half a minute, so that the
        prompt can be confirmed with the outcome's ``frame_index``; the next preview on another
        frame lets it go. Raises as ``prompt`` does.
        """
        self._known(stream_id)
        request = PromptRequest(stream_id, prompt, moment=moment, correct=correct, preview=True)
        return await self._outcome(request, timeout_s)

    async def _outcome(self, request: PromptRequest, timeout_s: float) -> PromptOutcome:
        self._inference.prompt(request)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(request.outcome)
        except TimeoutError:
            running = self._streams.get(request.stream_id)
            state = StreamState.STOPPED if running is None else running.stream.state
            if not request.outcome.cancelled():
                reason = f"it is not done after {timeout_s:g} s; an event will tell"
            elif request.is_for_past:
                reason = f"the tracker had no time for it within {timeout_s:g} s"
            else:
                reason = f"no frame came within {timeout_s:g} s; the stream is {state}"
            return request.refusal(reason)

    async def rename_object(
        self, stream_id: str, object_id: int, *, label: str | None, colour: str | None
    ) -> None:
        """Name or colour an object anew; None leaves what it has, "" takes it away.

        Raises ``UnknownStreamError`` or ``UnknownObjectError``.
        """
        self._known(stream_id)
        renamed = self._inference.rename_object(stream_id, object_id, label, colour)
        if not await asyncio.wrap_future(renamed):
            raise unknown_object(stream_id, object_id)
        if self._state is not None:
            self._state.objects_changed(stream_id)

    async def remove_object(self, stream_id: str, object_id: int) -> None:
        """Stop following an object. Raises ``UnknownStreamError`` or ``UnknownObjectError``."""
        self._known(stream_id)
        if not await asyncio.wrap_future(self._inference.remove_object(stream_id, object_id)):
            raise unknown_object(stream_id, object_id)

    async def add_stream(self, stream_id: str, stream_config: StreamConfig) -> None:
        """Begin another stream. Raises ``ConfigError`` or ``ControlError``; nothing is changed."""
        async with self._changing_streams:
            if stream_id in self._streams:
                raise StreamExistsError(f"there is a stream {stream_id} already; remove it first")
            streams = {name: running.config for name, running in self._streams.items()}
            streams[stream_id] = stream_config
            validate(dataclasses.replace(self.config, streams=streams))
            await self._begin_stream(stream_id, stream_config)
        self._streams_changed()

    async def add_stream_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """``add_stream`` with what stands under ``streams.ID`` in a file."""
        await self.add_stream(stream_id, build(StreamConfig, settings, f"streams.{stream_id}"))

    def stream_config(self, stream_id: str) -> StreamConfig:
        """The settings a stream runs with. Raises ``ControlError``."""
        return self._known(stream_id).config

    async def change_stream(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Change some settings of a stream, given as under ``streams.ID``; its objects stay.

        The camera is connected anew only where the change concerns it. Raises ``ConfigError`` or
        ``ControlError``, also for a ``max_objects`` below the objects followed; then nothing is
        changed.
        """
        async with self._changing_streams:
            running = self._known(stream_id)
            changed = changed_stream(f"streams.{stream_id}", running.config, settings)
            streams = {name: each.config for name, each in self._streams.items()}
            streams[stream_id] = changed
            validate(dataclasses.replace(self.config, streams=streams))
            self._make_source(stream_id, changed)  # opens nothing, but refuses what cannot work
            if changed.max_objects != running.config.max_objects:
                await asyncio.wrap_future(
                    self._inference.set_max_objects(stream_id, changed.max_objects)
                )
            running.stream.change(changed)
            if changed.url != running.config.url:
                await self._publishers.end_stream(stream_id)
            self._streams[stream_id] = dataclasses.replace(running, config=changed)
        self._streams_changed()

    async def pause(self, stream_id: str) -> None:
        """Stop tracking a stream; its camera stays connected. Raises ``ControlError``."""
        await self.change_stream(stream_id, {"paused": True})

    async def resume(self, stream_id: str) -> None:
        """Track a paused stream again. Raises ``ControlError``."""
        await self.change_stream(stream_id, {"paused": False})

    async def remove_stream(self, stream_id: str) -> None:
        """End a stream and remove its objects and its metrics. Raises ``ControlError``."""
        async with self._changing_streams:
            running = self._known(stream_id)
            running.stream.request_stop(STREAM_REMOVED)
            await asyncio.wait({running.task})
            running.slot.close()
            await asyncio.wrap_future(self._inference.remove_stream(stream_id, STREAM_REMOVED))
            running.counts.close()
            del self._streams[stream_id]
            await self._publishers.end_stream(stream_id)
        self._streams_changed()

    # Inside.

    async def _begin_published_stream(self, stream_id: str) -> None:
        await self.add_stream_from(stream_id, {"url": WHIP_URL})

    def _make_state_keeper(self) -> StateKeeper | None:
        try:
            folder = state_folder(self.config.state_directory, self.config.control.endpoint)
        except ConfigError as error:
            _log.warning("nothing is kept for the next start: %s", error)
            return None
        if folder is None:
            return None
        return StateKeeper(
            folder,
            streams=lambda: {name: running.config for name, running in self._streams.items()},
            object_ids=lambda stream_id: self._streams[stream_id].object_ids,
            export=self._remembered,
            metrics=self.metrics,
        )

    def _streams_changed(self) -> None:
        if self._state is not None:
            self._state.streams_changed()

    async def _begin_as_kept(self, stream_id: str, taken_up: TakenUp) -> None:
        """Begin a stream as it was left; as the file has it, where that does not work any more."""
        record = taken_up.records.get(stream_id)
        kept = taken_up.objects.get(stream_id, ())
        try:
            await self._begin_stream(stream_id, taken_up.streams[stream_id], record, kept)
        except MaskletError as error:
            if record is None or self._state is None:
                raise
            _log.warning("what was kept of stream %s is not used: %s", stream_id, error)
            self._state.not_used(stream_id, record)
            if stream_id in self.config.streams:
                await self._begin_stream(stream_id, self.config.streams[stream_id])

    async def _remembered(self, stream_id: str) -> list[RememberedObject]:
        return await asyncio.wrap_future(self._inference.remembered_objects(stream_id))

    async def _take_up(self, stream_id: str, kept: Sequence[RememberedObject]) -> set[int]:
        """Go on with kept objects; the ids of those that the tracker knows again."""
        known = set()
        for each in kept:
            try:
                await asyncio.wrap_future(self._inference.take_up(stream_id, each))
            except ControlError as error:
                name = each.object_id if each.label is None else f"{each.object_id} ({each.label})"
                _log.warning("%s: object %s has to be shown anew: %s", stream_id, name, error)
            else:
                known.add(each.object_id)
        return known

    async def _begin_stream(
        self,
        stream_id: str,
        config: StreamConfig,
        record: StreamRecord | None = None,
        kept: Sequence[RememberedObject] = (),
    ) -> None:
        """Begin a stream; ``record`` and ``kept`` are what an earlier run left of it."""
        assert self._tasks is not None, "the daemon was not started"
        if len(self._streams) >= MAXIMUM_STREAMS:
            raise ControlError(f"{MAXIMUM_STREAMS} streams run already; remove one first")
        requests = configured_prompts(stream_id, config.objects)
        self._make_source(stream_id, config)  # opens nothing, but refuses what cannot work
        object_ids = ids_of(record)
        for object_id in (each.prompt.object_id for each in requests):
            object_ids.use(object_id)
        for object_id in (each.object_id for each in kept):
            object_ids.use(object_id)
        counts = StreamCounts(stream_id, self.metrics)
        slot = FrameSlot(stream_id, on_filled=self._inference.wake, on_dropped=counts.dropped)
        stream = Stream(
            stream_id,
            config,
            make_source=self._make_source,
            slot=slot,
            counts=counts,
            publish=self._fanout.publish,
            metrics=self.metrics,
            clock=self._clock,
            random=self._random,
        )
        await asyncio.wrap_future(self._inference.add_stream(slot, counts, config.max_objects, ()))
        known = await self._take_up(stream_id, kept)
        wanted = {each.id for each in objects_to_prompt(config, record, known)}
        for request in requests:
            if request.prompt.object_id in wanted:
                self._inference.prompt(request)
        task = self._tasks.create_task(stream.run(), name=f"stream-{stream_id}")
        self._streams[stream_id] = _Running(config, stream, slot, counts, object_ids, task)

    def _known(self, stream_id: str) -> _Running:
        running = self._streams.get(stream_id)
        if running is None:
            known = ", ".join(self._streams) or "none"
            raise UnknownStreamError(f"there is no stream {stream_id!r}; streams here: {known}")
        return running

    def _live_streams(self) -> int:
        return sum(
            running.stream.state is StreamState.LIVE and not running.config.paused
            for running in tuple(self._streams.values())
        )

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None, "the daemon was not started"
        self._background.append(self._tasks.create_task(work))

    async def _inference_ended_by_itself(self, ended: asyncio.Future[None]) -> None:
        """Bring an error of the inference thread into the task group, which ends the daemon."""
        await asyncio.shield(ended)

    async def _report_drops(self) -> None:
        """Log what was dropped, in one line a stream and minute.

        Consumers are told with every result and status; this is for the operator.
        """
        before: dict[str, Counter[str]] = {}
        while True:
            await asyncio.sleep(DROP_REPORT_S)
            now = {each.stream_id: Counter(each.frames_dropped) for each in self.statuses()}
            for stream_id, dropped in now.items():
                news = dropped - before.get(stream_id, Counter())
                if news:
                    reasons = ", ".join(f"{reason} {count}" for reason, count in news.items())
                    _log.info("%s: frames dropped in %.0f s: %s", stream_id, DROP_REPORT_S, reasons)
            before = now


def unknown_object(stream_id: str, object_id: int) -> UnknownObjectError:
    """The error for an object that a stream does not follow."""
    return UnknownObjectError(f"stream {stream_id} has no object {object_id}")


def make_tracker(config: MaskletConfig) -> Tracker:
    """The tracker that ``config`` describes.

    Raises ``CheckpointError`` for a model that does not load, ``ConfigError`` for an option.
    """
    tracking = config.tracking
    try:
        options = TrackerOptions(
            max_objects=tracking.max_objects,
            memory_policy=tracking.memory_policy,
            fill_hole_area=tracking.fill_hole_area,
            non_overlap=tracking.non_overlap,
        )
    except ValueError as error:
        raise ConfigError(f"tracking: {error}") from error
    model = config.model
    try:
        return Tracker.from_checkpoint(
            model.checkpoint or model.name, device=model.device, options=options
        )
    except ValueError as error:
        raise ConfigError(f"model.device: {error}") from error

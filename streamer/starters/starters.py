"""The starters of all streams: a sink that gives each stream's frames to its starter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from streamer.config.schema import MaskletConfig
from streamer.config.starters import StarterConfig
from streamer.config.streams import StreamConfig
from streamer.errors import ControlError, UnknownStreamError
from streamer.inference.object_commands import ObjectCommands
from streamer.runtime.clock import Clock, seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.runtime.threads import report_failure
from streamer.starters.detection_passes import PicturePasses, ReceivedPasses
from streamer.starters.detector_lock import DetectorLock
from streamer.starters.make_detector import MakeDetector, keeps_off_border, rate_hz
from streamer.starters.policy import Known, StartPolicy
from streamer.starters.starter_state import StarterState
from streamer.starters.stream_starter import StreamStarter
from streamer.types import (
    Detection,
    FrameReference,
    FrameResult,
    Published,
    StreamState,
    StreamStatus,
)


@dataclass(frozen=True, slots=True)
class _Running:
    """A stream's starter, and the settings that it began with."""

    config: StarterConfig
    max_objects: int
    policy: StartPolicy
    starter: StreamStarter
    received: ReceivedPasses | None
    task: asyncio.Task[None]


class Starters:
    """Begins a stream's starter with its first frame and ends it with the stream.

    Used on the event loop. Changed settings replace a stream's starter; the new one takes over what
    the old one knew of its objects. Bound: one starter per running stream.
    """

    name = "starters"

    def __init__(
        self,
        config: MaskletConfig,
        *,
        streams: Callable[[], Mapping[str, StreamConfig]],
        objects: Callable[[], ObjectCommands],
        metrics: Metrics,
        clock: Clock,
        make: MakeDetector,
    ) -> None:
        """``streams``: the settings of the running streams. ``make`` makes their detectors."""
        self._usual = config.starter
        self._history_ns = seconds_to_ns(config.history.duration_s)
        self._streams = streams
        self._objects = objects
        self._metrics = metrics
        self._clock = clock
        self._make = make
        self._random = Random()
        self._lock = DetectorLock()
        self._running: dict[str, _Running] = {}
        # The last session of streams that have ended: a step that was running then publishes one
        # more frame. Bound: the streams that exist.
        self._ended: dict[str, str | None] = {}

    def state(self, stream_id: str) -> StarterState | None:
        """The state of a stream's starter; None without a starter, or without a frame yet."""
        running = self._running.get(stream_id)
        return None if running is None else running.starter.state()

    def offer(
        self, stream_id: str, reference: FrameReference, detections: Sequence[Detection]
    ) -> bool:
        """Accept detections from outside for a frame; False if they replace others.

        Raises ``ControlError`` for a stream that takes none, and for an unknown frame.
        """
        stream = self._streams().get(stream_id)
        if stream is None:
            known = ", ".join(self._streams()) or "none"
            raise UnknownStreamError(f"there is no stream {stream_id!r}; streams here: {known}")
        kind = self._config_of(stream).kind
        if kind != "boxes":
            raise ControlError(
                f"stream {stream_id} takes no boxes: its starter.kind is {kind}, not boxes"
            )
        running = self._running.get(stream_id)
        if running is None or running.received is None:
            raise ControlError(f"stream {stream_id}: no frame was tracked yet")
        return running.received.offer(reference, detections)

    # As a sink.

    async def start(self) -> None:
        """Nothing to open: starters begin with their streams."""

    def wants(self, item: Published) -> bool:
        """Frames, and the end of streams."""
        return isinstance(item, FrameResult) or (
            isinstance(item, StreamStatus) and item.state is StreamState.STOPPED
        )

    async def publish(self, item: Published) -> None:
        """Give a frame to the stream's starter."""
        streams = self._streams()
        if isinstance(item, StreamStatus):
            self._end(item.stream_id)
            self._ended = {each: last for each, last in self._ended.items() if each in streams}
            self._ended[item.stream_id] = item.session_id
            return
        assert isinstance(item, FrameResult), "not wanted"
        stream_id = item.frame.stream_id
        stream = streams.get(stream_id)
        if stream is None or self._ended.get(stream_id) == item.frame.session_id:
            return
        running = self._running.get(stream_id)
        known = None
        config = self._config_of(stream)
        if running is not None and (running.config, running.max_objects) != (
            config,
            stream.max_objects,
        ):
            known = running.policy.known
            self._end(stream_id)
            running = None
        if running is None and config.kind != "none":
            running = self._begin(stream_id, config, stream.max_objects, known)
            self._running[stream_id] = running
        if running is not None:
            running.starter.see(item)

    async def close(self) -> None:
        """End all starters; the thread of a running pass ends by itself."""
        tasks = [running.task for running in self._running.values()]
        for stream_id in tuple(self._running):
            self._end(stream_id)
        if tasks:
            await asyncio.wait(tasks)

    # Inside.

    def _config_of(self, stream: StreamConfig) -> StarterConfig:
        return self._usual if stream.starter is None else stream.starter

    def _begin(
        self,
        stream_id: str,
        config: StarterConfig,
        max_objects: int,
        known: Known | None,
    ) -> _Running:
        """``known`` is that of a starter with other settings, whose last pass may still run."""
        policy = StartPolicy(config, max_objects, keeps_off_border(config), known)
        received = ReceivedPasses(self._history_ns) if config.kind == "boxes" else None
        passes = received or PicturePasses(lambda: self._make(config), rate_hz(config))
        starter = StreamStarter(
            stream_id,
            config,
            passes,
            policy,
            lock=self._lock,
            objects=self._objects(),
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
        )
        task = asyncio.create_task(starter.run(), name=f"starter-{stream_id}")
        task.add_done_callback(report_failure)
        return _Running(config, max_objects, policy, starter, received, task)

    def _end(self, stream_id: str) -> None:
        running = self._running.pop(stream_id, None)
        if running is not None:
            running.task.cancel()

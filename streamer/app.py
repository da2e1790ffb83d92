"""Builds every part of the daemon, starts it, serves, and shuts down. Read this first.

The live path, in the order data meets it:

    camera ─────────────────────────► Stream ───► FrameSlot ──► Inference ───► Fanout ──► sinks
    publisher ─► Whip ─► Publishers ─┘ a thread   newest        one thread:    a queue
                                       each       frame wins    Scheduler and  each
                                                                Tracker, all streams at once

    sinks:  ZeroMQSink ─────────────────────────────► consumers
            PictureHub ──► WhepServer ──► Api ──────► page, viewers
            ResultsHub, EventHub ───────► Api ──────► page, masklet ctl
            StateKeeper ────────────────────────────► the disk, for the next start
            Starters ───► prompts, for detections that match no tracked object

Commands travel the other way, through the ``Api``, over TCP and a Unix socket:

    page, masklet ctl, prompt …     ─┬─► Streams: add, change, pause, remove
                                     ├─► Objects: prompt, preview, rename, remove
    a detector elsewhere            ─┴─► Starters ─┘ └─► Inference, between two steps

Three phases: ``_start`` (sinks first, so that no result is lost), ``_serve``, and ``_shutdown``
(cameras first, so that frames already received are still tracked and sent).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from streamer.api.api import Api
from streamer.api.context import ApiContext
from streamer.api.detection_intake import DetectionIntake
from streamer.api.metrics_server import MetricsServer
from streamer.api.webrtc.begun_streams import BegunStreams
from streamer.api.webrtc.publishers import Publishers
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.inference.build import configured_inference, configured_trackers, prepares_ahead
from streamer.inference.device import Device, Progress, names_of, shared_progress
from streamer.inference.inference import SHUTDOWN
from streamer.inference.preparation import preparation
from streamer.runtime.clock import Clock, SystemClock
from streamer.runtime.metrics import Metrics
from streamer.runtime.shares import Shares
from streamer.runtime.threads import start_thread
from streamer.sinks.base import Sink, close_sink
from streamer.sinks.events import EventHub
from streamer.sinks.fanout import Fanout
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.sinks.zeromq.sink import ZeroMQSink
from streamer.starters.make_detector import DetectorMaker, MakeDetector
from streamer.starters.starters import Starters
from streamer.streams.drop_report import report_drops
from streamer.streams.leases import Leases
from streamer.streams.objects import Objects
from streamer.streams.reach import within_rules
from streamer.streams.state.build import configured_state
from streamer.streams.state.keeper import Restored
from streamer.streams.state.leased_keeper import LeasedKeeper
from streamer.streams.stream import MakeSource
from streamer.streams.streams import Streams
from tracker import Tracker

MAXIMUM_STREAMS = 64
INFERENCE_THREAD = "inference"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of a running daemon; None for a disabled endpoint."""

    zeromq: str
    control: str
    metrics: str | None
    api: str | None


class App:
    """The daemon. Run it with ``await run()``; use ``streams``, ``objects`` and the other methods
    on the same event loop.

    ``started`` is set once all endpoints listen and the configured streams are connecting.
    """

    def __init__(
        self,
        config: MaskletConfig,
        *,
        tracker: Tracker | Sequence[Tracker] | None = None,
        further_sinks: Sequence[Sink] = (),
        make_source: MakeSource | None = None,
        make_detector: MakeDetector | None = None,
        clock: Clock | None = None,
        fresh: bool = False,
        leased: bool = False,
        warm_up_progress: Progress | None = None,
    ) -> None:
        """Build everything; nothing listens or runs yet.

        ``tracker``: instead of the configured one, or one for each of several devices.
        ``further_sinks`` receive the same results as the ZeroMQ publisher. ``fresh`` sets aside
        the saved state of an earlier run. ``leased``: no stream of an earlier run is restored; each
        is taken over the control socket with a fencing token. ``warm_up_progress`` is called in
        the inference threads, by one at a time, with the steps done and the total. Raises
        ``ConfigError`` for a configuration that cannot work and ``CheckpointError`` for a model
        that does not load.
        """
        self.config = config
        self.started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._fresh = fresh
        self._background: list[asyncio.Task[None]] = []
        self._inference_ended: list[asyncio.Future[None]] = []
        clock = clock or SystemClock()
        metrics = self.metrics = Metrics()
        publishing_tokens = config.api.token_names("publish")
        self._publishers = Publishers(config.webrtc, metrics, clock, publishing_tokens)

        # Sinks first, because each part receives the next one downstream in its constructor.
        # Where a part needs one that is built later, it receives a callable.
        self._zeromq = ZeroMQSink(
            config.zeromq,
            publisher_id=config.zeromq.publisher_id or socket.gethostname(),
            metrics=metrics,
            status_provider=lambda: self.streams.statuses(),
            heartbeat_s=config.heartbeat_s,
            status_s=config.status_s,
        )
        events = EventHub()
        results = ResultsHub(metrics, clock)
        picture = PictureHub(config.picture, metrics, clock)
        self._state = configured_state(
            config,
            streams=lambda: self._saved_streams(),
            object_ids=lambda stream_id: self.streams.object_ids(stream_id),
            owner_set=lambda stream_id: self.streams.owner_set(stream_id),
            export=lambda stream_id: self.objects.snapshots(stream_id),
            metrics=metrics,
            end=(lambda stream_id: self.streams.remove(stream_id)) if leased else None,
        )
        self.starters = Starters(
            config,
            streams=lambda: self.streams.configs(),
            objects=lambda: self.objects,
            metrics=metrics,
            clock=clock,
            make=make_detector or DetectorMaker(),
        )
        self._sinks: tuple[Sink, ...] = (
            self._zeromq,
            events,
            results,
            picture,
            *([self._state] if self._state else []),
            self.starters,
            *further_sinks,
        )
        self._fanout = Fanout(self._sinks, metrics, clock, on_frame_taken=self._wake)
        trackers = configured_trackers(config) if tracker is None else tracker
        trackers = trackers if isinstance(trackers, Sequence) else [trackers]
        model_name = trackers[0].config.name
        progress: Sequence[Progress | None] = [warm_up_progress]
        if len(trackers) > 1 and warm_up_progress is not None:
            progress = shared_progress(warm_up_progress, len(trackers))
        elif len(trackers) > 1:
            progress = [None] * len(trackers)
        names = names_of(str(each.device) for each in trackers)
        self._inferences = [
            configured_inference(
                config,
                each,
                device_name=name,
                publish=self._fanout.publish,
                is_unpublished=self._fanout.holds_frame_of,
                live_streams=lambda stream_ids: self.streams.live(stream_ids),
                metrics=metrics,
                clock=clock,
                warm_up_progress=own_progress,
            )
            for each, name, own_progress in zip(trackers, names, progress, strict=True)
        ]
        devices = [
            Device(
                name,
                inference.commands,
                preparation(each, ahead=prepares_ahead(config, str(each.device))),
            )
            for each, name, inference in zip(trackers, names, self._inferences, strict=True)
        ]
        for each in devices:
            metrics.build_info.labels(version("masklet"), model_name, each.name).set(1)
        self.streams = Streams(
            config,
            maximum=MAXIMUM_STREAMS,
            make_source=self._publishers.among(
                make_source or within_rules(config, lambda each: self.streams.owner_set(each))
            ),
            end_publishing=self._publishers.end_stream,
            devices=devices,
            publish=self._fanout.publish,
            state=self._state,
            metrics=metrics,
            clock=clock,
        )
        self.objects = Objects(self.streams, self._state)
        self.leases = (
            Leases(self.streams, self._state) if isinstance(self._state, LeasedKeeper) else None
        )

        self._begun_streams = BegunStreams(
            self.streams,
            maximum_streams=MAXIMUM_STREAMS,
            shares=Shares(
                config.webrtc.publishers,
                publishing_tokens,
                "streams that publishers began (webrtc.publishers; each ends "
                f"{config.webrtc.end_created_after_s:g} s after its publisher)",
            ),
            has_publisher=self._publishers.has_publisher,
            end_after_s=config.webrtc.end_created_after_s,
            on_kept=self._state.objects_changed if self._state else lambda _: None,
            clock=clock,
        )

        # Entry points for requests from outside.
        self.whip = Whip(
            self._publishers,
            stream_config=lambda stream_id: self.streams.configs().get(stream_id),
            begin_stream=self._begun_streams.begin if config.webrtc.create_streams else None,
        )
        context = ApiContext(
            config=config,
            streams=self.streams,
            objects=self.objects,
            starter=self.starters.state,
            detections=DetectionIntake(
                self.starters.offer, config.api.limits.detections_per_s, metrics, clock
            ),
            events=events,
            results=results,
            picture=picture,
            whep=WhepServer(
                picture,
                self._publishers.ice_settings,
                maximum_viewers=config.webrtc.viewers,
                token_names=config.api.token_names("read"),
                has_stream=lambda stream_id: stream_id in self.streams.configs(),
                metrics=metrics,
                clock=clock,
            ),
            whip=self.whip,
            model_name=model_name,
            device_name=", ".join(each.name for each in devices),
            not_ready=self.not_ready,
            request_stop=self.request_stop,
            keep_stream=self._begun_streams.keep,
            leases=self.leases,
            maximum_streams=MAXIMUM_STREAMS,
            metrics=metrics,
        )
        self._api = Api(context, clock)
        self._metrics_server = (
            MetricsServer(metrics, config.metrics.host, config.metrics.port, clock, self.not_ready)
            if config.metrics.enabled
            else None
        )

    # The three phases.

    async def run(self) -> int:
        """Start, serve until ``request_stop``, shut down; return the exit code.

        Raises an ``ExceptionGroup`` when an essential part fails.
        """
        async with asyncio.TaskGroup() as tasks:
            try:
                await self._start(tasks)
                await self._serve()
            finally:
                await self._shutdown()
        return 0

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        def in_background(work: Coroutine[Any, Any, None]) -> None:
            self._background.append(tasks.create_task(work))

        if self._metrics_server is not None:
            await self._metrics_server.start()
            in_background(self._metrics_server.run())
        for sink in self._sinks:
            await sink.start()
        self._fanout.start(tasks)
        self._api.bind()
        restored = Restored(self.config.streams)
        if self._state is not None:
            restored = await asyncio.to_thread(self._state.open, self.config, fresh=self._fresh)
        for inference in self._inferences:
            ended = start_thread(INFERENCE_THREAD, inference.run)
            self._inference_ended.append(ended)
            in_background(self._inference_ended_by_itself(ended))
        await self._api.start()  # answers "not ready" while the model warms up
        in_background(self._api.run())
        if not await self._warmed_up():
            return
        await self.streams.start(tasks, restored)
        if self._state is not None:
            tasks.create_task(self._state.run(), name="state")
        in_background(self._begun_streams.run())
        in_background(report_drops(self.streams.statuses))

    async def _warmed_up(self) -> bool:
        """Wait until the model is ready for its first frame; False if a stop was requested."""
        warm = asyncio.gather(*(asyncio.wrap_future(each.warmed_up) for each in self._inferences))
        stopping = asyncio.ensure_future(self._stopping.wait())
        either: set[asyncio.Future[Any]] = {warm, stopping}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return not self._stopping.is_set()

    async def _serve(self) -> None:
        if self._stopping.is_set():
            return
        endpoints = self.endpoints
        _log.info(
            "serving %d streams; results at %s, commands at %s, metrics at %s, page and API at %s",
            len(self.streams.configs()),
            endpoints.zeromq,
            endpoints.control,
            endpoints.metrics or "no address",
            endpoints.api or "no address",
        )
        self.started.set()
        await self._stopping.wait()

    async def _shutdown(self) -> None:
        """Stop every part within ``shutdown_timeout_s``; each gets a share, then is abandoned."""
        if self.started.is_set():
            _log.info("stopping")
        self._stopping.set()
        share_s = self.config.shutdown_timeout_s / 5
        for task in self._background:
            task.cancel()
        ends = [self._api.close(share_s)]
        if self._metrics_server is not None:
            ends.append(self._metrics_server.close(share_s))
        await asyncio.gather(*ends)
        await self.streams.stop(SHUTDOWN)
        await asyncio.wait({asyncio.ensure_future(self._publishers.close())}, timeout=share_s)
        if self._state is not None and self.started.is_set():
            await self._state.finish(share_s)
        for inference in self._inferences:
            inference.stop()
        if self._inference_ended:
            await asyncio.wait(self._inference_ended, timeout=share_s)
        await self._fanout.drain(share_s)
        for sink in self._sinks:
            await close_sink(sink, share_s)
        if self.started.is_set():
            _log.info("stopped")

    # Status and control of the daemon itself.

    def request_stop(self) -> None:
        """Make ``run`` shut down and return."""
        self._stopping.set()

    @property
    def endpoints(self) -> Endpoints:
        """The addresses in use, with the actual ports; valid once started."""
        metrics = self._metrics_server
        return Endpoints(
            zeromq=self._zeromq.endpoint,
            control=self.config.control.endpoint,
            metrics=metrics.endpoint if metrics else None,
            api=self._api.endpoint,
        )

    def not_ready(self) -> list[str]:
        """The parts that are not running although tracking needs them; empty when ready."""
        missing = []
        if not self.started.is_set():
            is_warm = all(each.warmed_up.done() for each in self._inferences)
            missing.append("start" if is_warm else "warm-up")
        if self._stopping.is_set():
            missing.append("stopping")
        if not self._inference_ended or any(each.done() for each in self._inference_ended):
            missing.append(INFERENCE_THREAD)
        return missing

    # Inside.

    def _wake(self) -> None:
        for inference in self._inferences:
            inference.wake()

    def _saved_streams(self) -> dict[str, StreamConfig]:
        return {
            stream_id: stream
            for stream_id, stream in self.streams.configs().items()
            if stream_id not in self._begun_streams
        }

    async def _inference_ended_by_itself(self, ended: asyncio.Future[None]) -> None:
        """Raise an inference thread's error in the task group, which ends the daemon."""
        await asyncio.shield(ended)

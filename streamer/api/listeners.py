"""The listeners of the daemon: the addresses where it takes requests.

    ControlServer   ipc     masklet prompt, streams, stop …
    Api             HTTP    page, masklet ctl, detections, viewers (WhepServer), publishers (Whip)

All are bound before the model warms up, so that an address in use is reported at once. The API
answers from then on (``/readyz`` fails); the others open when the model is ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from streamer.api.api import Api
from streamer.api.control_server import ControlServer
from streamer.api.detection_intake import DetectionIntake
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.schema import MaskletConfig
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.sinks.events import EventHub
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.starters.starters import Starters
from streamer.streams.objects import Objects
from streamer.streams.streams import Streams
from streamer.webrtc.ice_settings import IceSettings
from tracker import Tracker

Background = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a started daemon is reached; None for what is switched off."""

    zeromq: str
    control: str
    metrics: str | None
    api: str | None


class Listeners:
    """Those that ``config`` has. Used on the event loop: ``bind``, ``open_early``, ``open``."""

    def __init__(
        self,
        config: MaskletConfig,
        *,
        streams: Streams,
        objects: Objects,
        starters: Starters,
        events: EventHub,
        results: ResultsHub,
        picture: PictureHub,
        whip: Whip,
        ice_settings: IceSettings,
        tracker: Tracker,
        not_ready: Callable[[], list[str]],
        request_stop: Callable[[], None],
        maximum_streams: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """Nothing listens yet. Raises ``ConfigError`` for settings that cannot work."""
        self._control = ControlServer(config.control.endpoint, streams, objects, request_stop)
        self._api: Api | None = None
        if config.api.enabled:
            whep = WhepServer(
                picture,
                ice_settings,
                maximum_viewers=config.webrtc.viewers,
                has_stream=lambda stream_id: stream_id in streams.configs(),
                metrics=metrics,
                clock=clock,
            )
            self._api = Api(
                config,
                streams=streams,
                objects=objects,
                starter=starters.state,
                detections=DetectionIntake(
                    starters.offer, config.api.limits.detections_per_s, metrics, clock
                ),
                events=events,
                results=results,
                picture=picture,
                whep=whep,
                whip=whip,
                model_name=tracker.config.name,
                device_name=str(tracker.device),
                not_ready=not_ready,
                maximum_streams=maximum_streams,
                metrics=metrics,
                clock=clock,
            )

    def endpoints(self, *, zeromq: str, metrics: str | None) -> Endpoints:
        """Where everything listens, with these two, which are not ours."""
        return Endpoints(
            zeromq=zeromq,
            control=self._control.endpoint,
            metrics=metrics,
            api=None if self._api is None else self._api.endpoint,
        )

    async def bind(self) -> None:
        """Take the addresses. Raises ``ConfigError`` and ``SecurityError``."""
        if self._api is not None:
            self._api.bind()
        await self._control.start()

    async def open_early(self, in_background: Background) -> None:
        """Answer that nothing is ready, while the model warms up."""
        if self._api is not None:
            await self._api.start()
            in_background(self._api.run())

    def open(self, tasks: asyncio.TaskGroup, in_background: Background) -> None:
        """Let everybody in."""
        in_background(self._control.run(tasks))

    async def close(self, timeout_s: float) -> None:
        """Release everything; what is under way over HTTP has ``timeout_s`` to end."""
        await self._control.close()
        if self._api is not None:
            await self._api.close(timeout_s)

"""The collaborators of the routes: the daemon's streams and objects, and the parts they serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from streamer.api.access import Access
from streamer.api.detection_intake import DetectionIntake
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.inference.object_commands import ObjectCommands
from streamer.runtime.metrics import Metrics
from streamer.sinks.events import EventHub
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.starters.starter_state import StarterState
from streamer.types import StreamStatus


class StreamCommands(Protocol):
    """Commands to the streams; the methods raise ``MaskletError`` to refuse."""

    def statuses(self) -> Iterable[StreamStatus]:
        """The status of every stream."""

    def config(self, stream_id: str) -> StreamConfig:
        """The settings a stream runs with."""

    async def add_from(
        self, stream_id: str, settings: Mapping[str, Any], *, by_owner: bool = True
    ) -> None:
        """Begin another stream."""

    async def change(
        self, stream_id: str, settings: Mapping[str, Any], *, by_owner: bool = True
    ) -> None:
        """Change some settings of a stream; its objects stay."""

    async def pause(self, stream_id: str) -> None:
        """Stop tracking a stream; its camera stays connected."""

    async def resume(self, stream_id: str) -> None:
        """Track a paused stream again."""

    async def remove(self, stream_id: str) -> None:
        """End a stream."""


class LeaseCommands(Protocol):
    """Streams that a fleet leases to this daemon; the methods raise ``MaskletError`` to refuse."""

    async def take(self, stream_id: str, wanted: StreamConfig, token: int) -> None:
        """Track a stream as it was left elsewhere, under a fencing token."""

    async def leave(self, stream_id: str) -> None:
        """Save a stream's newest state and end it here."""

    async def drop(self, stream_id: str) -> None:
        """End a stream here without saving."""


@dataclass(slots=True)
class ApiContext(Access):
    """Collaborators of the routes; made of ``config``: who may do what.

    ``starter`` gives the state of a stream's starter, None for a stream without one.
    ``not_ready`` lists the parts that are needed for results and do not run;
    ``request_stop`` shuts the daemon down;
    ``leases`` is None for a daemon that belongs to no fleet;
    ``keep_stream``: ``control`` changed this stream or its objects: it does not end by itself.
    """

    streams: StreamCommands
    objects: ObjectCommands
    starter: Callable[[str], StarterState | None]
    detections: DetectionIntake
    config: MaskletConfig
    metrics: Metrics
    events: EventHub
    results: ResultsHub
    picture: PictureHub
    whep: WhepServer
    whip: Whip
    keep_stream: Callable[[str], None]
    model_name: str
    device_name: str
    not_ready: Callable[[], list[str]]
    request_stop: Callable[[], None]
    maximum_streams: int
    leases: LeaseCommands | None = None

    def __post_init__(self) -> None:
        self.read(self.config.api)

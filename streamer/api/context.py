"""What the routes are given: the daemon's streams and objects, and the parts they serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streamer.api.detection_intake import DetectionIntake
from streamer.api.server.authorisation import Authorisation
from streamer.api.server.limits import OpenStreams
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.schema import (
    MaskletConfig,
    StreamConfig,
)
from streamer.inference.prompts.request import PromptOutcome
from streamer.runtime.metrics import Metrics
from streamer.sinks.events import EventHub
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.starters.stream_starter import StarterState
from streamer.types import FrameReference, ObjectSummary, StreamStatus
from tracker.types import Prompt


class StreamCommands(Protocol):
    """What can be asked of the streams; the methods raise ``MaskletError`` to refuse."""

    def statuses(self) -> Iterable[StreamStatus]:
        """How every stream does."""

    def config(self, stream_id: str) -> StreamConfig:
        """The settings a stream runs with."""

    async def add_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Begin another stream."""

    async def change(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Change some settings of a stream; its objects stay."""

    async def pause(self, stream_id: str) -> None:
        """Stop tracking a stream; its camera stays connected."""

    async def resume(self, stream_id: str) -> None:
        """Track a paused stream again."""

    async def remove(self, stream_id: str) -> None:
        """End a stream."""


class ObjectCommands(Protocol):
    """What can be asked of the objects; the methods raise ``MaskletError`` to refuse."""

    def of(self, stream_id: str) -> Sequence[ObjectSummary]:
        """The objects of a stream, as on its newest frame."""

    def next_id(self, stream_id: str) -> int:
        """The smallest id that was never used in this stream."""

    async def prompt(
        self,
        stream_id: str,
        prompt: Prompt,
        label: str | None = None,
        *,
        colour: str | None = None,
        reference: FrameReference | None = None,
        correct: bool = False,
        request_id: str | None = None,
    ) -> PromptOutcome:
        """Apply a prompt, on the frame that is meant or the next one."""

    async def preview(
        self,
        stream_id: str,
        prompt: Prompt,
        *,
        reference: FrameReference | None = None,
        correct: bool = False,
    ) -> PromptOutcome:
        """What a prompt would do; changes nothing."""

    async def rename(
        self, stream_id: str, object_id: int, *, label: str | None, colour: str | None
    ) -> None:
        """Give an object another name or colour; None leaves it, "" takes it away."""

    async def remove(self, stream_id: str, object_id: int) -> None:
        """Stop following an object."""


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Collaborators of the routes.

    ``starter`` says how a stream's starter does, None for one without.
    ``not_ready`` lists the parts without which no result is made or sent, and that do not run;
    ``request_stop`` shuts the daemon down;
    ``secure`` says that the server speaks TLS.
    """

    streams: StreamCommands
    objects: ObjectCommands
    starter: Callable[[str], StarterState | None]
    detections: DetectionIntake
    config: MaskletConfig
    metrics: Metrics
    authorisation: Authorisation
    events: EventHub
    results: ResultsHub
    picture: PictureHub
    whep: WhepServer
    whip: Whip
    open_streams: OpenStreams
    model_name: str
    device_name: str
    not_ready: Callable[[], list[str]]
    request_stop: Callable[[], None]
    maximum_streams: int
    secure: bool
    cookie_name: str

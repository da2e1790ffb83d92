"""The collaborators of the routes: the daemon's streams and objects, and the parts they serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamer.api.detection_intake import DetectionIntake
from streamer.api.server.authorisation import Authorisation
from streamer.api.server.login_cookie import LoginCookie
from streamer.api.server.principals import OWNER
from streamer.api.webrtc.whep_server import WhepServer
from streamer.api.webrtc.whip import Whip
from streamer.config.schema import MaskletConfig
from streamer.config.streams import StreamConfig
from streamer.inference.object_commands import ObjectCommands
from streamer.runtime.metrics import Metrics
from streamer.runtime.shares import Shares
from streamer.sinks.events import EventHub
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.websocket import ResultsHub
from streamer.starters.stream_starter import StarterState
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


@dataclass(slots=True)
class ApiContext:
    """Collaborators of the routes.

    ``starter`` gives the state of a stream's starter, None for a stream without one.
    ``not_ready`` lists the parts that are needed for results and do not run;
    ``request_stop`` shuts the daemon down;
    ``keep_stream``: ``control`` changed this stream or its objects: it does not end by itself.
    Made from ``config``: the tokens, the streams that may be open, and the login's cookie, which
    is renewed once the port is known.
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
    authorisation: Authorisation = field(init=False)
    open_streams: Shares = field(init=False)
    cookie: LoginCookie = field(init=False)

    def __post_init__(self) -> None:
        """Read the tokens. Raises ``ConfigError`` for one that cannot be used."""
        api = self.config.api
        self.authorisation = Authorisation(api.tokens if api.enabled else ())
        self.open_streams = Shares(
            api.limits.open_streams,
            (OWNER.name, *api.token_names("read")) if api.tokens else (),
            "event, picture and result connections (api.limits.open_streams)",
        )
        self.cookie = LoginCookie(api.port)

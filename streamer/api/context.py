"""What the routes are given: the daemon's commands, and the parts they serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from streamer.api.authorisation import Authorisation
from streamer.api.event_hub import EventHub
from streamer.api.limits import OpenStreams
from streamer.config import MaskletConfig
from streamer.metrics import Metrics
from streamer.types import StreamStatus


class Commands(Protocol):
    """What can be asked of the daemon; the methods raise ``MaskletError`` to refuse."""

    def statuses(self) -> Iterable[StreamStatus]:
        """How every stream does."""

    def not_ready(self) -> list[str]:
        """The parts without which no result is made or sent, and that do not run."""

    def model_name(self) -> str:
        """The network's name."""

    def device_name(self) -> str:
        """Where it runs."""

    async def add_stream_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Begin another stream."""

    async def remove_stream(self, stream_id: str) -> None:
        """End a stream."""


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Collaborators of the routes; ``secure`` says that the server speaks TLS."""

    commands: Commands
    config: MaskletConfig
    metrics: Metrics
    authorisation: Authorisation
    events: EventHub
    open_streams: OpenStreams
    maximum_streams: int
    secure: bool
    cookie_name: str

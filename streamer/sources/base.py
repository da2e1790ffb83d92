"""The protocol of a source: it runs in its own thread and delivers frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from streamer.runtime.address import Address
from streamer.sources.read_deadline import ReadDeadline
from streamer.types import DecodedFrame, DropReason

# Whether a server may lead a source to an address.
MayReach = Callable[[Address], bool]


class SourceOutput(Protocol):
    """Receives what a source delivers; implemented by ``streams.source_attempt``."""

    def frame(self, picture: DecodedFrame) -> None:
        """Deliver one frame. For a lossless source this waits until the tracker took it."""

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Count frames that the source lost, by reason."""

    def reset(self, reason: str) -> None:
        """Report that presentation times jumped or restarted (``stream_reset``)."""


class Source(Protocol):
    """One connection attempt to one camera, file or scene.

    A new source object is made for every attempt. ``run`` is called once, in the stream's own
    thread: it opens, delivers until the media ends, and returns. It raises ``SourceError`` when
    it cannot open or continue. It checks ``stop`` at least at every read and returns soon after
    it is set; blocking reads have a timeout. A source well beyond its ``deadline`` is blocked, and
    is abandoned.
    """

    lossless: bool
    redacted_url: str

    @property
    def deadline(self) -> ReadDeadline | None:
        """When the next picture must come, None where the source bounds its waits otherwise."""

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver frames until the end, an error or ``stop``."""

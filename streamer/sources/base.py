"""What a source is: something that runs in a thread of its own and delivers pictures."""

from __future__ import annotations

import threading
from typing import Protocol

from streamer.types import DecodedFrame, DropReason


class SourceOutput(Protocol):
    """Where a source delivers to; implemented by ``streams.stream``. Never blocks for long."""

    def frame(self, picture: DecodedFrame) -> None:
        """Deliver one picture. For a lossless source this waits until it was taken."""

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Count frames that the source itself gave up, by reason."""

    def reset(self, reason: str) -> None:
        """Say that presentation times jumped or restarted (``stream_reset``)."""


class Source(Protocol):
    """One connection attempt to one camera, file or scene.

    A new source object is made for every attempt. ``run`` is called once, in the stream's own
    thread; it opens, delivers until the media ends, and returns; it raises ``SourceError`` when
    it cannot open or go on. It must look at ``stop`` at least every read and return soon after
    it is set; blocking reads are bounded by a timeout.
    """

    lossless: bool
    redacted_url: str

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver pictures until the end, an error or ``stop``."""

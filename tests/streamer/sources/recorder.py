"""An output that keeps what a source delivers, and a source run in a thread as the daemon does."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from streamer.errors import SourceError
from streamer.sources.base import Source
from streamer.types import DecodedFrame, DropReason
from tests.conftest import eventually


class Recorder:
    """Implements ``SourceOutput``; keeps everything, so for short runs only."""

    def __init__(self, on_frame: Callable[[DecodedFrame], None] | None = None) -> None:
        self.frames: list[DecodedFrame] = []
        self.drops: Counter[DropReason] = Counter()
        self.resets: list[str] = []
        self.on_frame = on_frame

    def frame(self, picture: DecodedFrame) -> None:
        self.frames.append(picture)
        if self.on_frame is not None:
            self.on_frame(picture)

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        self.drops[reason] += count

    def reset(self, reason: str) -> None:
        self.resets.append(reason)


class RunningSource:
    """A source that runs in a thread of its own; leaving the ``with`` stops and joins it."""

    def __init__(self, source: Source) -> None:
        self.output = Recorder()
        self.stop = threading.Event()
        self.error: SourceError | None = None
        self._source = source
        self._thread = threading.Thread(target=self._run, name="source")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the source did not end after its stop"

    def wait_for_frames(self, count: int) -> list[DecodedFrame]:
        """The frames so far, once there are ``count``; fails when the source ends before."""
        eventually(
            lambda: len(self.output.frames) >= count or not self._thread.is_alive(),
            what=f"{count} frames",
        )
        assert len(self.output.frames) >= count, f"ended early: {self.error}"
        return self.output.frames

    def wait_for_end(self) -> SourceError | None:
        """The error with which the source ended, None for an ordinary end."""
        eventually(lambda: not self._thread.is_alive(), what="the source's end")
        return self.error

    def _run(self) -> None:
        try:
            self._source.run(self.output, self.stop)
        except SourceError as error:
            self.error = error


def run_to_end(source: Source) -> tuple[Recorder, SourceError | None]:
    """Run a source that ends by itself, in this thread."""
    output = Recorder()
    try:
        source.run(output, threading.Event())
    except SourceError as error:
        return output, error
    return output, None

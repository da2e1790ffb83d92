"""What one connected peer sends, on its way from the event loop to a source's thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamer.errors import SourceFailure
from streamer.webrtc.frame_assembler import EncodedPicture
from streamer.webrtc.rtp_clock import RtpCaptureClock

# A decoder that is further behind than this has lost: everything is dropped, and goes on with a
# keyframe. One second at 30 Hz; a busy 1080p keyframe has 0.4 MB.
CAPACITY_PICTURES = 30
CAPACITY_BYTES = 8_388_608


@dataclass(frozen=True, slots=True)
class FeedEnd:
    """Why there is no more: a reason of the stream's, and words for the operator."""

    reason: SourceFailure
    message: str


class EncodedFeed:
    """A bounded queue of encoded pictures, emptied as a whole when it is full.

    Encoded pictures refer to those before them, so none can be skipped: a reader that is too
    slow loses all that wait, and gets a keyframe. ``loop`` is the peer's; there the reader's
    wishes are told to ``request_keyframe`` and ``stop``.
    """

    def __init__(
        self,
        clock: RtpCaptureClock,
        loop: asyncio.AbstractEventLoop,
        *,
        request_keyframe: Callable[[], None],
        stop: Callable[[FeedEnd], None],
    ) -> None:
        self.clock = clock
        self._loop = loop
        self._request_keyframe = request_keyframe
        self._stop = stop
        self._changed = threading.Condition()
        self._pictures: deque[EncodedPicture] = deque()
        self._bytes = 0
        self._missed_before_keyframe = 0
        self._missed_behind = 0
        self._end: FeedEnd | None = None

    @property
    def end(self) -> FeedEnd | None:
        """Why the feed ended; None while it lives."""
        return self._end

    @property
    def waiting(self) -> int:
        """Pictures that wait to be read."""
        return len(self._pictures)

    def request_keyframe(self) -> None:
        """Let the peer send one; from any thread."""
        self._in_loop(self._request_keyframe)

    def stop(self, end: FeedEnd) -> None:
        """Give this peer up, for a reason of the reader's; from any thread."""
        self._in_loop(lambda: self._stop(end))

    def put(self, picture: EncodedPicture) -> None:
        """Add a picture; called on the event loop, never blocks."""
        with self._changed:
            if self._end is not None:
                return
            self._bytes += len(picture.data)
            self._pictures.append(picture)
            is_full = len(self._pictures) > CAPACITY_PICTURES or self._bytes > CAPACITY_BYTES
            if is_full:
                self._missed_behind += len(self._pictures)
                self._pictures.clear()
                self._bytes = 0
            self._changed.notify()
        if is_full:
            self.request_keyframe()

    def count_missed(self) -> None:
        """A picture was lost, or came before any keyframe."""
        with self._changed:
            self._missed_before_keyframe += 1

    def close(self, end: FeedEnd) -> None:
        """There will be no more; what waits can still be read. The first reason stays."""
        with self._changed:
            if self._end is None:
                self._end = end
            self._changed.notify()

    def get(self, timeout_s: float) -> EncodedPicture | None:
        """The next picture; None when there is none within ``timeout_s``, or when it ended."""
        with self._changed:
            if not self._pictures and self._end is None:
                self._changed.wait(timeout_s)
            if not self._pictures:
                return None
            picture = self._pictures.popleft()
            self._bytes -= len(picture.data)
            return picture

    def take_missed(self) -> tuple[int, int]:
        """Pictures lost since the last call: for want of a keyframe, and to a slow reader."""
        with self._changed:
            missed = self._missed_before_keyframe, self._missed_behind
            self._missed_before_keyframe = self._missed_behind = 0
            return missed

    def _in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # the loop is closed, and the peer with it

"""The bounded queue from one peer's event loop to a source's thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamer.errors import SourceFailure
from streamer.webrtc.frame_assembler import EncodedPicture
from streamer.webrtc.parameter_sets import ParameterSets
from streamer.webrtc.rtp_clock import RtpCaptureClock

# Bound: one second at 30 Hz; a busy 1080p keyframe has 0.4 MB. Policy: when the decoder is further
# behind, all queued pictures are dropped, and decoding resumes at the next keyframe.
CAPACITY_PICTURES = 30
CAPACITY_BYTES = 8_388_608


@dataclass(frozen=True, slots=True)
class FeedEnd:
    """Why the feed ended: the reason code, and a message for the operator."""

    reason: SourceFailure
    message: str


class EncodedFeed:
    """A bounded queue of encoded pictures, emptied as a whole when it is full.

    Encoded pictures refer to earlier ones, so none can be skipped: a reader that is too slow
    loses all queued pictures, and a keyframe is requested. ``request_keyframe`` and ``stop`` are
    called on ``loop``, the peer's event loop.
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
        self.parameter_sets = ParameterSets()  # of H.264; set before the first picture
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
        """Why the feed ended; None while it is open."""
        return self._end

    @property
    def waiting(self) -> int:
        """The number of queued pictures."""
        return len(self._pictures)

    def request_keyframe(self) -> None:
        """Ask the peer for a keyframe; from any thread."""
        self._in_loop(self._request_keyframe)

    def stop(self, end: FeedEnd) -> None:
        """Disconnect the peer for the reason ``end``; from any thread."""
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
        """Count a picture that was lost or arrived before the first keyframe."""
        with self._changed:
            self._missed_before_keyframe += 1

    def close(self, end: FeedEnd) -> None:
        """End the feed; queued pictures can still be read. The first reason is kept."""
        with self._changed:
            if self._end is None:
                self._end = end
            self._changed.notify()

    def get(self, timeout_s: float) -> EncodedPicture | None:
        """The next picture; None if none arrives within ``timeout_s`` or the feed has ended."""
        with self._changed:
            if not self._pictures and self._end is None:
                self._changed.wait(timeout_s)
            if not self._pictures:
                return None
            picture = self._pictures.popleft()
            self._bytes -= len(picture.data)
            return picture

    def take_missed(self) -> tuple[int, int]:
        """Pictures lost since the last call: for lack of a keyframe, and to a slow reader."""
        with self._changed:
            missed = self._missed_before_keyframe, self._missed_behind
            self._missed_before_keyframe = self._missed_behind = 0
            return missed

    def _in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # the loop is closed, and the peer with it

"""One connection of a stream: passes its source's frames to the slot."""

from __future__ import annotations

import threading
import uuid

from streamer.inference.frame_slot import FrameSlot
from streamer.inference.preparation import IN_RGB, Preparation
from streamer.inference.stream_counts import StreamCounts
from streamer.runtime.clock import NANOSECONDS_PER_SECOND, Clock, ns_to_seconds
from streamer.sources.base import Source
from streamer.streams.connection_state import ConnectionState
from streamer.streams.frame_gate import FrameGate
from streamer.types import DecodedFrame, DropReason
from tracker.images.prepared_image import PreparedImage


class SourceAttempt:
    """The ``SourceOutput`` of one source, called in the source's thread.

    ``stop`` requests the source to return; after ``detached``, further frames are ignored.
    """

    def __init__(
        self,
        connection: ConnectionState,
        gate: FrameGate,
        slot: FrameSlot,
        counts: StreamCounts,
        clock: Clock,
        preparation: Preparation = IN_RGB,
    ) -> None:
        """``preparation`` does the start of a step's work here, in parallel to the steps."""
        self.stop = threading.Event()
        self.detached = False
        self._connection = connection
        self._gate = gate
        self._slot = slot
        self._counts = counts
        self._clock = clock
        self._preparation = preparation
        self._session_id = uuid.uuid4().hex
        self._lossless = False
        self._size: tuple[int, int] | None = None
        self._first_monotonic_ns = 0
        self._last_monotonic_ns = 0

    @property
    def delivered(self) -> bool:
        """Whether a frame came."""
        return self._size is not None

    @property
    def delivered_for_s(self) -> float:
        """Seconds from the first frame to the last; 0 without one."""
        return ns_to_seconds(self._last_monotonic_ns - self._first_monotonic_ns)

    def run(self, source: Source) -> None:
        """Run the source until it ends or fails."""
        self._lossless = source.lossless
        source.run(self, self.stop)
        if not self.detached:
            self._slot.wait_until_taken(self.stop)

    def frame(self, picture: DecodedFrame) -> None:
        """Put a frame into the slot, or count it as refused."""
        if self.detached:
            return
        picture = self._preparation.received(picture)
        now_ns = self._clock.monotonic_ns()
        height, width = picture.pixels.height, picture.pixels.width
        if self._size is None:
            self._first_monotonic_ns = now_ns
            self._connection.went_live(self._session_id, (width, height))
        elif self._size != (width, height):
            self._connection.size_changed((width, height))
        self._size = (width, height)
        self._last_monotonic_ns = now_ns
        self._counts.decoded(picture)
        if self._lossless:
            self._gate.wait_until_resumed(self.stop)
        refusal = self._gate.refusal(self._time_ns(picture))
        if refusal is not None:
            self._slot.refuse(refusal)
        elif self._lossless:
            self._slot.put_when_taken(
                picture,
                self._session_id,
                self._clock.monotonic_ns,
                self.stop,
                self._prepared(picture),
            )
        else:
            self._slot.put(picture, self._session_id, now_ns, self._prepared(picture))

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        """Count frames that the source lost."""
        if not self.detached:
            self._slot.count_lost(reason, count)

    def reset(self, reason: str) -> None:
        """Report that presentation times jumped."""
        if not self.detached:
            self._connection.times_restarted(reason)

    def _prepared(self, picture: DecodedFrame) -> PreparedImage | None:
        """The prepared frame; None without objects, as the frame is not encoded then."""
        return self._preparation.prepared(picture) if self._counts.object_ids else None

    def _time_ns(self, picture: DecodedFrame) -> int:
        """The time for the rate limit: a lossless file's own, which may run faster."""
        if self._lossless and picture.pts is not None:
            return round(picture.pts * picture.time_base * NANOSECONDS_PER_SECOND)
        return picture.arrival_monotonic_ns

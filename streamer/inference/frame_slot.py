"""The buffer between a stream's source and the tracker: one frame."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from streamer.types import DecodedFrame, DropReason, Frame
from tracker.images.prepared_image import PreparedImage

_STOP_POLL_S = 0.1


class FrameSlot:
    """Holds the newest frame; counts the frames lost since the last one that was taken.

    Bound: one frame. Policy: ``put`` replaces the waiting frame (counted as
    superseded); ``put_when_taken``, for lossless sources, waits until the slot is empty. The
    source's thread puts, the inference thread takes, either may count losses. The losses
    between two taken frames are reported with the later one (``Frame.dropped_before``).
    """

    def __init__(
        self,
        stream_id: str,
        on_filled: Callable[[], None],
        on_dropped: Callable[[DropReason, int], None],
    ) -> None:
        """``on_filled`` is called after every put, ``on_dropped`` for every loss counted.

        The attribute ``lossless``: whether its source waits instead of losing frames.
        """
        self.stream_id = stream_id
        self.lossless = False
        self.frames_put = 0  # frames held here so far, taken or superseded
        self._on_filled = on_filled
        self._on_dropped = on_dropped
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._filled_monotonic_ns = 0
        self._lost: dict[str, int] = {}
        self._next_index = 0
        self._closed = False

    @property
    def waiting_since_monotonic_ns(self) -> int | None:
        """Since when the slot has not been empty; None if it is.

        A frame that replaces another keeps the earlier time: otherwise a fast source would
        postpone its own turn for ever.
        """
        with self._changed:
            return None if self._frame is None else self._filled_monotonic_ns

    @property
    def frames_offered(self) -> int:
        """Frames put here or refused so far: the next frame's index."""
        return self._next_index

    def put(
        self,
        picture: DecodedFrame,
        session_id: str,
        now_monotonic_ns: int,
        prepared: PreparedImage | None = None,
    ) -> None:
        """Hold ``picture`` as the newest frame, in place of a waiting one. No-op once closed."""
        with self._changed:
            if self._closed:
                return
            self.lossless = False
            superseded = self._frame is not None
            self._fill(picture, session_id, now_monotonic_ns, prepared)
        if superseded:
            self._on_dropped(DropReason.SUPERSEDED, 1)
        self._on_filled()

    def put_when_taken(
        self,
        picture: DecodedFrame,
        session_id: str,
        clock_ns: Callable[[], int],
        stop: threading.Event,
        prepared: PreparedImage | None = None,
    ) -> None:
        """Wait until the slot is empty, then hold ``picture``; return early if ``stop`` is set."""
        with self._changed:
            while self._frame is not None and not self._closed and not stop.is_set():
                self._changed.wait(_STOP_POLL_S)
            if self._closed or stop.is_set():
                return
            self.lossless = True
            self._fill(picture, session_id, clock_ns(), prepared)
        self._on_filled()

    def refuse(self, reason: DropReason) -> None:
        """Count a decoded frame that is not tracked; it takes an index all the same."""
        with self._changed:
            self._next_index += 1
        self.count_lost(reason, 1)

    def count_lost(self, reason: DropReason, count: int) -> None:
        """Count losses after the waiting frame."""
        with self._changed:
            if self._closed:
                return
            self._lost[reason] = self._lost.get(reason, 0) + count
        self._on_dropped(reason, count)

    def count_failed(self, frame: Frame) -> None:
        """Count ``frame``, taken before, as failed; the next frame reports it and its losses."""
        losses = _sum(frame.dropped_before, {DropReason.FAILED: 1})
        with self._changed:
            if self._frame is None:
                self._lost = _sum(losses, self._lost)
            else:
                lost = _sum(losses, self._frame.dropped_before)
                self._frame = replace(self._frame, dropped_before=lost)
        self._on_dropped(DropReason.FAILED, 1)

    def take(self) -> Frame | None:
        """Remove and return the waiting frame."""
        with self._changed:
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def wait_until_taken(self, stop: threading.Event) -> None:
        """Wait until the slot is empty, closed, or ``stop`` is set."""
        with self._changed:
            while self._frame is not None and not self._closed and not stop.is_set():
                self._changed.wait(_STOP_POLL_S)

    def close(self) -> None:
        """Discard the frame and refuse further ones; waiting threads return."""
        with self._changed:
            self._closed = True
            self._frame = None
            self._changed.notify_all()

    def _fill(
        self,
        picture: DecodedFrame,
        session_id: str,
        now_monotonic_ns: int,
        prepared: PreparedImage | None,
    ) -> None:
        lost, self._lost = self._lost, {}
        if self._frame is None:
            self._filled_monotonic_ns = now_monotonic_ns
        else:
            lost = _sum(self._frame.dropped_before, lost, {DropReason.SUPERSEDED: 1})
        self._frame = Frame(
            stream_id=self.stream_id,
            session_id=session_id,
            index=self._next_index,
            picture=picture,
            dropped_before=lost,
            prepared=prepared,
        )
        self._next_index += 1
        self.frames_put += 1


def _sum(*counts: dict[str, int]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for reason, count in each.items():
            total[reason] = total.get(reason, 0) + count
    return total

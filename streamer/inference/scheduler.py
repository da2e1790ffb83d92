"""Chooses the streams of the next batch: a policy in plain Python, without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamer.runtime.clock import NANOSECONDS_PER_SECOND

# A frame may join a batch when its turn is due within this share of its period: cameras jitter, and
# streams of one rate stay together. Turns keep their phase, so the advance does not accumulate.
EARLY_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Batch:
    """Step now, with the frames of these streams."""

    stream_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a frame, at most for ``wait_ns``; None: without limit."""

    wait_ns: int | None


@dataclass(slots=True)
class _Turns:
    """When a stream was last served, and when it may be served again."""

    served_in: int = 0  # the number of a batch
    served_ns: int | None = None
    period_ns: int | None = None  # None: at every frame
    due_ns: int = 0


class Scheduler:
    """Gathers frames of several streams into one batch, briefly, and serves streams in turn.

    A batch is stepped when every live stream has a frame, when it is full, or when its oldest
    frame has waited ``max_batch_wait_ns``, which bounds the wait. A stream whose rate is limited
    (``limit_rates``) joins when its turn is due; until then its slot keeps the newest frame.

    When more frames wait than fit, a higher priority goes first, and among equals the stream
    served longest ago: with equal priorities a waiting stream is served within
    ``ceil(streams / batch size)`` batches. No stream starves: one unserved for
    ``starving_after_ns`` is scheduled ahead of every priority, the longest unserved first.

    Bound: one entry per stream, until ``forget``.
    """

    def __init__(
        self,
        max_batch_wait_ns: int,
        max_batch_size: int,
        starving_after_ns: int = NANOSECONDS_PER_SECOND,
    ) -> None:
        self._max_batch_wait_ns = max_batch_wait_ns
        self._max_batch_size = max_batch_size
        self._starving_after_ns = starving_after_ns
        self._batch_size = max_batch_size
        self._batches = 0
        self._priorities: dict[str, int] = {}
        self._turns: dict[str, _Turns] = {}

    @property
    def batch_size(self) -> int:
        """The largest number of frames in a batch, as limited now."""
        return self._batch_size

    def decide(
        self, now_ns: int, waiting_since_ns: Mapping[str, int], live_streams: int
    ) -> Batch | Wait:
        """Step a batch now, or wait.

        ``waiting_since_ns`` has an entry for each stream with a frame; ``live_streams`` is the
        number of streams expected to have one soon. A returned batch counts as served.
        """
        if not waiting_since_ns:
            return Wait(None)
        waiting = {stream_id: self._of(stream_id) for stream_id in waiting_since_ns}
        if not any(turns.due_ns <= now_ns for turns in waiting.values()):
            return Wait(min(turns.due_ns for turns in waiting.values()) - now_ns)
        ready_ns = {
            stream_id: max(waiting_since_ns[stream_id], turns.due_ns)
            for stream_id, turns in waiting.items()
            if turns.due_ns - EARLY_SHARE * (turns.period_ns or 0) <= now_ns
        }
        goes_ns = min(ready_ns.values()) + self._max_batch_wait_ns
        resting = sum(
            turns.due_ns > goes_ns for name, turns in self._turns.items() if name not in ready_ns
        )
        enough = min(max(live_streams - resting, 1), self._batch_size)
        if len(ready_ns) < enough and now_ns < goes_ns:
            return Wait(goes_ns - now_ns)
        in_turn = sorted(
            ready_ns, key=lambda stream_id: self._place(stream_id, now_ns, waiting_since_ns)
        )
        chosen = tuple(in_turn[: self._batch_size])
        self._batches += 1
        for stream_id in chosen:
            self._serve(waiting[stream_id], now_ns)
        return Batch(chosen)

    def prioritise(self, stream_id: str, priority: int) -> None:
        """Set a stream's priority; higher ones are served first. The default is 0."""
        self._priorities[stream_id] = priority

    def limit_rates(self, rates_hz: Mapping[str, float]) -> None:
        """Limit the mean rates of these streams, evenly spaced; all others are unlimited."""
        for stream_id in rates_hz:
            self._of(stream_id)
        for stream_id, turns in self._turns.items():
            rate_hz = rates_hz.get(stream_id)
            turns.period_ns = None if rate_hz is None else round(NANOSECONDS_PER_SECOND / rate_hz)
            if rate_hz is None:
                turns.due_ns = 0

    def limit_batch(self, frames: int) -> None:
        """Limit a batch to ``frames``, between 1 and the constructor's ``max_batch_size``."""
        self._batch_size = min(max(frames, 1), self._max_batch_size)

    def starve_after(self, duration_ns: int) -> None:
        """Set how long a stream may go unserved before it precedes every priority."""
        self._starving_after_ns = duration_ns

    def forget(self, stream_id: str) -> None:
        """Discard the entry of a removed stream."""
        self._turns.pop(stream_id, None)
        self._priorities.pop(stream_id, None)

    def _of(self, stream_id: str) -> _Turns:
        return self._turns.setdefault(stream_id, _Turns())

    def _place(
        self, stream_id: str, now_ns: int, waiting_since_ns: Mapping[str, int]
    ) -> tuple[int, int, int, int]:
        """The sort key of a stream; the smallest is served first."""
        turns, since_ns = self._turns[stream_id], waiting_since_ns[stream_id]
        unserved_since_ns = since_ns if turns.served_ns is None else turns.served_ns
        if now_ns - unserved_since_ns >= self._starving_after_ns:
            return (0, 0, turns.served_in, since_ns)
        return (1, -self._priorities.get(stream_id, 0), turns.served_in, since_ns)

    def _serve(self, turns: _Turns, now_ns: int) -> None:
        turns.served_in, turns.served_ns = self._batches, now_ns
        if turns.period_ns is not None:
            # Keeps the phase; missed turns are not made up for.
            next_ns = (turns.due_ns or now_ns) + turns.period_ns
            turns.due_ns = max(next_ns, now_ns)

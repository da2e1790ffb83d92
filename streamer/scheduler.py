"""Which streams' frames go into the next batch: a policy in plain Python, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batch:
    """Step now, with the frames of these streams."""

    stream_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until a frame comes or ``wait_ns`` has passed; None: until a frame comes."""

    wait_ns: int | None


class Scheduler:
    """Gathers frames of several streams into one batch, briefly, and serves streams in turn.

    A batch goes when every live stream has a frame, when it is full, or when its oldest frame
    has waited ``max_batch_wait_ns``; a batch is never held for longer than that. When more
    frames wait than fit, those go first whose streams were served longest ago, so that a
    waiting stream is served within ``ceil(streams / max_batch_size)`` batches.
    """

    def __init__(self, max_batch_wait_ns: int, max_batch_size: int) -> None:
        self._max_batch_wait_ns = max_batch_wait_ns
        self._max_batch_size = max_batch_size
        self._batches = 0
        self._served_in: dict[str, int] = {}

    def decide(
        self, now_ns: int, waiting_since_ns: Mapping[str, int], live_streams: int
    ) -> Batch | Wait:
        """What to do now.

        ``waiting_since_ns`` has an entry for each stream with a frame; ``live_streams`` is how
        many streams may be expected to have one. A returned batch counts as served.
        """
        if not waiting_since_ns:
            return Wait(None)
        oldest_ns = min(waiting_since_ns.values())
        held_ns = now_ns - oldest_ns
        enough = min(live_streams, self._max_batch_size)
        if len(waiting_since_ns) < enough and held_ns < self._max_batch_wait_ns:
            return Wait(self._max_batch_wait_ns - held_ns)
        in_turn = sorted(
            waiting_since_ns,
            key=lambda stream_id: (self._served_in.get(stream_id, 0), waiting_since_ns[stream_id]),
        )
        chosen = tuple(in_turn[: self._max_batch_size])
        self._batches += 1
        self._served_in.update(dict.fromkeys(chosen, self._batches))
        return Batch(chosen)

    def forget(self, stream_id: str) -> None:
        """Drop what is remembered of a stream that is gone."""
        self._served_in.pop(stream_id, None)

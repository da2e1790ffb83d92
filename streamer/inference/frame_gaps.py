"""Counts the frames missed between two tracked frames: drops, outages, jumps in time.

Knows no tracker; it uses only the frames' numbers and times.
"""

from __future__ import annotations

from streamer.types import Frame

# A jump back in time counts as this many: how far the scene has moved is unknown.
JUMP_S = 1.0
# Weight of the newest spacing in the moving average of frame spacings.
NEWEST_SHARE = 0.1
MOST_FRAMES = 1_000_000


class FrameGaps:
    """Counts the frames of one stream that were not tracked before a given frame.

    Within a connection these are the missing frame numbers. An outage has no numbers: its
    duration is divided by the usual frame spacing. Bound: three numbers.
    """

    def __init__(self) -> None:
        self._before: tuple[str, int, int] | None = None  # session id, index, time
        self._spacing_ns: float | None = None

    def missed(self, frame: Frame, time_ns: int) -> int:
        """Frames between the last tracked one and this one, at most MOST_FRAMES."""
        if self._before is None:
            return 0
        session_id, index, before_ns = self._before
        skipped = max(0, frame.index - index - 1)
        elapsed_ns = time_ns - before_ns
        if frame.session_id == session_id and elapsed_ns >= 0:
            return min(skipped, MOST_FRAMES)
        if self._spacing_ns is None or self._spacing_ns <= 0:
            return max(1, skipped)
        if elapsed_ns < 0:
            elapsed_ns = round(JUMP_S * 1e9)
        pictures = round(elapsed_ns / self._spacing_ns) - 1
        return min(max(1, skipped, pictures), MOST_FRAMES)

    def tracked(self, frame: Frame, time_ns: int) -> None:
        """Record a tracked frame; the next gap starts at it."""
        if self._before is not None:
            session_id, index, before_ns = self._before
            if frame.session_id == session_id and frame.index > index and time_ns > before_ns:
                spacing_ns = (time_ns - before_ns) / (frame.index - index)
                known = spacing_ns if self._spacing_ns is None else self._spacing_ns
                self._spacing_ns = known + NEWEST_SHARE * (spacing_ns - known)
        self._before = (frame.session_id, frame.index, time_ns)

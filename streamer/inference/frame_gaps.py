"""How many pictures went by between two tracked frames: dropped ones, an outage, a jump.

Knows no tracker; the frames' own numbers and times are all it looks at.
"""

from __future__ import annotations

from streamer.types import Frame

# What a jump back in time counts as: nobody knows how far the scene has moved on.
JUMP_S = 1.0
# Of the spacing of pictures, the share that the newest one adds to the average.
NEWEST_SHARE = 0.1
MOST_FRAMES = 1_000_000


class FrameGaps:
    """Counts, for one stream, the pictures that were not tracked before a frame.

    Within a connection these are the frame numbers left out. Over an outage no numbers pass: the
    time that passed is counted in pictures of the usual spacing. Bound: three numbers.
    """

    def __init__(self) -> None:
        self._before: tuple[str, int, int] | None = None  # session id, index, time
        self._spacing_ns: float | None = None

    def missed(self, frame: Frame, time_ns: int) -> int:
        """Pictures between the frame that was tracked last and this one, at most MOST_FRAMES."""
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
        """This frame was tracked; the next gap counts from it."""
        if self._before is not None:
            session_id, index, before_ns = self._before
            if frame.session_id == session_id and frame.index > index and time_ns > before_ns:
                spacing_ns = (time_ns - before_ns) / (frame.index - index)
                known = spacing_ns if self._spacing_ns is None else self._spacing_ns
                self._spacing_ns = known + NEWEST_SHARE * (spacing_ns - known)
        self._before = (frame.session_id, frame.index, time_ns)

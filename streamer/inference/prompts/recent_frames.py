"""Which frames of a stream can still be prompted, and which of them somebody means.

Knows times and names of frames; the frames themselves lie in the tracker's session.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from streamer.errors import ControlError
from streamer.runtime.clock import Clock, ns_to_seconds, seconds_to_ns
from streamer.types import Frame, FrameReference
from tracker import Session

# Capture times that were rounded on their way here, or by a camera's clock.
CAPTURE_TIME_TOLERANCE_NS = 5_000_000
HELD_FOR_S = 30.0


@dataclass(frozen=True, slots=True)
class RecentFrame:
    """A frame as others name it, and ``tracker_index``, the tracker's own number for it.

    ``time_ns`` is by the clock that the stream's objects live by.
    """

    index: int
    tracker_index: int
    session_id: str
    capture_time_ns: int
    time_ns: int


class RecentFrames:
    """The frames of the last ``duration_ns``, oldest first, and those held beside them.

    Bound: it holds what the session's history holds. The newest two stay however old: a tracker
    that is slow may be asked for the one before the newest.
    """

    def __init__(self, duration_ns: int) -> None:
        self._duration_ns = duration_ns
        self._frames: deque[RecentFrame] = deque()
        self._held: dict[str, RecentFrame] = {}  # by who looks at it

    @property
    def newest(self) -> RecentFrame | None:
        """The frame tracked last."""
        return self._frames[-1] if self._frames else None

    def add(self, frame: RecentFrame) -> int:
        """Add the newest frame -> the ``tracker_index`` before which frames are too old."""
        self._frames.append(frame)
        while len(self._frames) > 2 and self._is_too_old(self._frames[0], frame):
            self._frames.popleft()
        return self._frames[0].tracker_index

    def _is_too_old(self, frame: RecentFrame, newest: RecentFrame) -> bool:
        return newest.time_ns - frame.time_ns > self._duration_ns

    def forget_before(self, tracker_index: int) -> None:
        """Frames before this one are gone: their memory ran out before their time."""
        while len(self._frames) > 1 and self._frames[0].tracker_index < tracker_index:
            self._frames.popleft()

    def hold(self, frame: RecentFrame, holder: str) -> None:
        """Keep a frame that was found here beyond its time; what ``holder`` held before goes."""
        self._held[holder] = frame

    def let_go(self, holder: str) -> None:
        """Hold no frame for ``holder`` any more."""
        self._held.pop(holder, None)

    def find(self, reference: FrameReference | None) -> RecentFrame:
        """The frame that is meant. Raises ``ControlError``, which says what can be prompted."""
        newest = self.newest
        if newest is None:
            raise ControlError("no frame of this stream was tracked yet")
        if reference is None:
            return newest
        if reference.frame_index is not None:
            found = self._of_index(reference.frame_index, newest)
        elif reference.capture_time_ns is not None:
            found = self._nearest(reference.capture_time_ns, reference.session_id, newest)
        else:
            found = newest
        if reference.session_id not in (None, found.session_id):
            raise ControlError(
                f"frame {found.index} is of another connection ({found.session_id}) than the one "
                f"that was meant ({reference.session_id})"
            )
        return found

    def _candidates(self) -> list[RecentFrame]:
        return [*self._held.values(), *self._frames]

    def _of_index(self, index: int, newest: RecentFrame) -> RecentFrame:
        for frame in self._candidates():
            if frame.index == index:
                return frame
        if index > newest.index:
            reason = f"is still to come: the newest is {newest.index}"
        elif index < self._frames[0].index:
            reason = f"is too old, {newest.index - index} frames before the newest"
        else:
            reason = "was not tracked: a newer one was there"
        raise ControlError(f"frame {index} {reason}; {self._what_is_here()}")

    def _nearest(self, time_ns: int, session_id: str | None, newest: RecentFrame) -> RecentFrame:
        of_session = [
            frame for frame in self._candidates() if session_id in (None, frame.session_id)
        ]
        found = min(of_session or [newest], key=lambda frame: abs(frame.capture_time_ns - time_ns))
        if abs(found.capture_time_ns - time_ns) <= self._reach_ns():
            return found
        away_s = ns_to_seconds(newest.capture_time_ns - time_ns)
        if away_s < 0:
            reason = f"was {-away_s:.2f} s after the newest frame was taken"
        else:
            reason = f"was {away_s:.2f} s before the newest frame was taken"
        raise ControlError(f"the moment that was meant {reason}; {self._what_is_here()}")

    def _reach_ns(self) -> int:
        """Half the time between two frames, and a tolerance."""
        oldest, newest = self._frames[0], self._frames[-1]
        periods = max(len(self._frames) - 1, 1)
        period_ns = abs(newest.capture_time_ns - oldest.capture_time_ns) // periods
        return period_ns // 2 + CAPTURE_TIME_TOLERANCE_NS

    def _what_is_here(self) -> str:
        oldest, newest = self._frames[0], self._frames[-1]
        span_s = ns_to_seconds(newest.time_ns - oldest.time_ns)
        return f"frames {oldest.index} to {newest.index} ({span_s:.2f} s) can be prompted"


class Holder(StrEnum):
    """Who looks at a frame for longer than frames are kept."""

    PREVIEW = "preview"
    STARTER = "starter"


class PromptableFrames:
    """Lets names and frames be forgotten together; used by the inference thread only.

    Bound: what the session's history holds, and one frame for each ``Holder``, for ``HELD_FOR_S``.
    """

    def __init__(self, session: Session, frames: RecentFrames, clock: Clock) -> None:
        self._session = session
        self._frames = frames
        self._clock = clock
        self._held_until_ns: dict[Holder, int] = {}

    @property
    def newest(self) -> RecentFrame | None:
        """The frame tracked last."""
        return self._frames.newest

    def add(self, frame: Frame, tracker_index: int, time_ns: int) -> None:
        """Know the frame just tracked as one that can be prompted; older ones may be too old."""
        recent = RecentFrame(
            index=frame.index,
            tracker_index=tracker_index,
            session_id=frame.session_id,
            capture_time_ns=frame.picture.capture_time_ns,
            time_ns=time_ns,
        )
        self._session.forget_before(self._frames.add(recent))
        self._forget_what_is_gone()

    def find(self, reference: FrameReference | None) -> RecentFrame:
        """The frame that is meant. Raises ``ControlError`` if it cannot be prompted any more."""
        self._forget_what_is_gone()
        return self._frames.find(reference)

    def hold(self, frame: RecentFrame, holder: Holder) -> None:
        """Keep a frame promptable for ``HELD_FOR_S``; what ``holder`` held before is let go."""
        self._session.hold(frame.tracker_index, holder)
        self._frames.hold(frame, holder)
        self._held_until_ns[holder] = self._clock.monotonic_ns() + seconds_to_ns(HELD_FOR_S)

    def _forget_what_is_gone(self) -> None:
        oldest = self._session.oldest_frame
        if oldest is not None:
            self._frames.forget_before(oldest)
        now_ns = self._clock.monotonic_ns()
        for holder in [
            each for each, until_ns in self._held_until_ns.items() if now_ns >= until_ns
        ]:
            del self._held_until_ns[holder]
            self._frames.let_go(holder)
            self._session.let_go(holder)

"""The frames of a stream that can still be prompted, and how a reference finds one of them.

Holds indexes and times; the frames themselves are in the tracker's session.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from streamer.errors import ControlError
from streamer.runtime.clock import Clock, ns_to_seconds, seconds_to_ns
from streamer.types import Frame, FrameReference
from tracker import Session

# Capture times may be rounded on their way here, or by a camera's clock.
CAPTURE_TIME_TOLERANCE_NS = 5_000_000
HELD_FOR_S = 30.0


@dataclass(frozen=True, slots=True)
class RecentFrame:
    """The identity of a tracked frame; ``tracker_index`` is the tracker's own number of it.

    ``time_ns`` is that of the object lifecycle (``lifecycle_time_ns``).
    """

    index: int
    tracker_index: int
    session_id: str
    capture_time_ns: int
    time_ns: int


class RecentFrames:
    """The frames of the last ``duration_ns``, oldest first, and those held besides.

    Bound: the session's history. The newest two are always kept: with a slow tracker a prompt
    may refer to the one before the newest.
    """

    def __init__(self, duration_ns: int) -> None:
        self._duration_ns = duration_ns
        self._frames: deque[RecentFrame] = deque()
        self._held: dict[str, RecentFrame] = {}  # by holder

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
        """Discard the frames before this one: the history had no memory for them."""
        while len(self._frames) > 1 and self._frames[0].tracker_index < tracker_index:
            self._frames.popleft()

    def hold(self, frame: RecentFrame, holder: str) -> None:
        """Keep a frame beyond its time, in place of the one ``holder`` held before."""
        self._held[holder] = frame

    def let_go(self, holder: str) -> None:
        """Release the frame of ``holder``."""
        self._held.pop(holder, None)

    def find(self, reference: FrameReference | None) -> RecentFrame:
        """The frame of a reference. Raises ``ControlError``, which lists what can be prompted."""
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
                f"frame {found.index} belongs to another connection ({found.session_id}) than "
                f"{reference.session_id}, which was requested"
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
            reason = "was not tracked: a newer one replaced it"
        raise ControlError(f"frame {index} {reason}; {self._promptable()}")

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
        raise ControlError(f"the requested time {reason}; {self._promptable()}")

    def _reach_ns(self) -> int:
        """Half the frame spacing, plus a tolerance."""
        oldest, newest = self._frames[0], self._frames[-1]
        periods = max(len(self._frames) - 1, 1)
        period_ns = abs(newest.capture_time_ns - oldest.capture_time_ns) // periods
        return period_ns // 2 + CAPTURE_TIME_TOLERANCE_NS

    def _promptable(self) -> str:
        oldest, newest = self._frames[0], self._frames[-1]
        span_s = ns_to_seconds(newest.time_ns - oldest.time_ns)
        return f"frames {oldest.index} to {newest.index} ({span_s:.2f} s) can be prompted"


class Holder(StrEnum):
    """What keeps a frame for longer than usual."""

    PREVIEW = "preview"
    STARTER = "starter"
    SEGMENTS = "segments"


class PromptableFrames:
    """Keeps ``RecentFrames`` and the session's history in step; for the inference thread only.

    Bound: the session's history, and one frame for each ``Holder``, for ``HELD_FOR_S``.
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
        """Make the frame just tracked promptable, and discard those that are now too old."""
        recent = RecentFrame(
            index=frame.index,
            tracker_index=tracker_index,
            session_id=frame.session_id,
            capture_time_ns=frame.picture.capture_time_ns,
            time_ns=time_ns,
        )
        self._session.forget_before(self._frames.add(recent))
        self._discard_expired()

    def find(self, reference: FrameReference | None) -> RecentFrame:
        """The frame of a reference. Raises ``ControlError`` if it cannot be prompted any more."""
        self._discard_expired()
        return self._frames.find(reference)

    def hold(self, frame: RecentFrame, holder: Holder) -> None:
        """Keep a frame for ``HELD_FOR_S``, in place of the one ``holder`` held before."""
        self._session.hold(frame.tracker_index, holder)
        self._frames.hold(frame, holder)
        self._held_until_ns[holder] = self._clock.monotonic_ns() + seconds_to_ns(HELD_FOR_S)

    def _discard_expired(self) -> None:
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

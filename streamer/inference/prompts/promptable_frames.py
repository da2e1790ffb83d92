"""The frames of one stream that can still be prompted: known here by name, kept by its session."""

from __future__ import annotations

from enum import StrEnum

from streamer.inference.prompts.recent_frames import (
    RecentFrame,
    RecentFrames,
)
from streamer.runtime.clock import (
    Clock,
    seconds_to_ns,
)
from streamer.types import Frame, FrameMoment
from tracker import Session

HELD_FOR_S = 30.0


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

    def find(self, moment: FrameMoment | None) -> RecentFrame:
        """The frame that is meant. Raises ``ControlError`` if it cannot be prompted any more."""
        self._forget_what_is_gone()
        return self._frames.find(moment)

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

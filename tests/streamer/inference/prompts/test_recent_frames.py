"""Which frame a reference selects, and the error for a frame that is not kept."""

from __future__ import annotations

import pytest

from streamer.errors import ControlError
from streamer.inference.prompts.recent_frames import RecentFrame, RecentFrames
from streamer.types import FrameReference

MS = 1_000_000


def frame(index: int, time_ms: int, session_id: str = "one", tracker_index: int = 0) -> RecentFrame:
    """A frame taken 50 ms before the time it is known by."""
    return RecentFrame(
        index=index,
        tracker_index=tracker_index or index,
        session_id=session_id,
        capture_time_ns=(time_ms - 50) * MS,
        time_ns=time_ms * MS,
    )


@pytest.fixture
def frames() -> RecentFrames:
    """Every second frame of a camera was tracked: 100, 102 … 118, 80 ms apart."""
    made = RecentFrames(duration_ns=1_000 * MS)
    for place in range(10):
        made.add(frame(100 + 2 * place, 1000 + 80 * place))
    return made


def index_at(frames: RecentFrames, **reference: object) -> int:
    return frames.find(FrameReference(**reference)).index  # type: ignore[arg-type]


def test_frame_is_found_by_its_index_by_its_time_or_as_the_newest(frames: RecentFrames) -> None:
    assert index_at(frames, frame_index=104) == 104
    assert index_at(frames, capture_time_ns=(950 + 160) * MS) == 104
    assert index_at(frames) == 118
    assert index_at(frames, session_id="one") == 118
    assert frames.find(None).index == 118


@pytest.mark.parametrize(
    ("time_ms", "expected"), [(910, 100), (989, 100), (991, 102), (1670, 118), (1715, 118)]
)
def test_nearest_frame_in_time_is_taken(frames: RecentFrames, time_ms: int, expected: int) -> None:
    assert index_at(frames, capture_time_ns=time_ms * MS) == expected


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (
            FrameReference(frame_index=98),
            "frame 98 is too old, 20 frames before the newest; "
            r"frames 100 to 118 \(0.72 s\) can be prompted",
        ),
        (FrameReference(frame_index=105), "frame 105 was not tracked: a newer one replaced it"),
        (FrameReference(frame_index=119), "frame 119 is still to come: the newest is 118"),
        (FrameReference(capture_time_ns=900 * MS), "0.77 s before the newest frame was taken"),
        (FrameReference(capture_time_ns=2670 * MS), "1.00 s after the newest frame was taken"),
        (FrameReference(frame_index=104, session_id="two"), r"another connection \(one\)"),
        (FrameReference(capture_time_ns=950 * MS, session_id="two"), "before the newest|another"),
        (FrameReference(session_id="two"), "another connection"),
    ],
)
def test_frame_that_is_not_there_is_refused_with_the_reason(
    frames: RecentFrames, reference: FrameReference, reason: str
) -> None:
    with pytest.raises(ControlError, match=reason):
        frames.find(reference)


def test_nothing_can_be_prompted_before_the_first_frame() -> None:
    with pytest.raises(ControlError, match="no frame of this stream"):
        RecentFrames(1).find(None)


def test_frames_go_after_their_time_and_the_newest_two_stay() -> None:
    frames = RecentFrames(duration_ns=100 * MS)
    assert [frames.add(frame(number, 40 * number)) for number in range(6)] == [0, 0, 0, 1, 2, 3]
    assert index_at(frames, frame_index=3) == 3
    with pytest.raises(ControlError, match="frame 2 is too old"):
        index_at(frames, frame_index=2)
    assert frames.add(frame(6, 60_000)) == 5
    assert frames.add(frame(7, 60_040)) == 6


def test_frames_without_kept_memory_are_forgotten(frames: RecentFrames) -> None:
    frames.forget_before(115)
    assert index_at(frames, frame_index=116) == 116
    with pytest.raises(ControlError, match="frame 114 is too old.*frames 116 to 118"):
        index_at(frames, frame_index=114)
    frames.forget_before(999)
    assert index_at(frames) == 118


def test_held_frame_is_found_when_the_others_of_its_time_are_gone(frames: RecentFrames) -> None:
    frames.hold(frames.find(FrameReference(frame_index=100)), "detector")
    frames.hold(frames.find(FrameReference(frame_index=102)), "another")
    frames.add(frame(500, 60_000))
    assert index_at(frames, frame_index=100) == 100
    assert index_at(frames, capture_time_ns=950 * MS) == 100
    frames.let_go("detector")
    assert index_at(frames, frame_index=102) == 102
    with pytest.raises(ControlError, match="too old, 400 frames"):
        index_at(frames, frame_index=100)


def test_frame_of_the_meant_connection_is_taken_where_times_overlap() -> None:
    """A camera that comes back may count its time anew."""
    frames = RecentFrames(duration_ns=1_000 * MS)
    frames.add(frame(1, 1000, "one"))
    frames.add(frame(2, 1000, "two"))
    for session_id, expected in (("one", 1), ("two", 2)):
        assert index_at(frames, capture_time_ns=950 * MS, session_id=session_id) == expected

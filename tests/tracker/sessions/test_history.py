"""The history of a session: bounded in frames and bytes, free for a step, one frame held."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tracker.little import click, little_picture, little_tracker
from tracker import Prompt, PromptError, Session, Tracker
from tracker.model import Sam2
from tracker.sessions.history import TrackedFrame

# Of the little network, float32: 16² × 4 + 8² × 8 + 4² × 32 values, and a mask of 16².
FEATURES_BYTES = 4 * (16 * 16 * 4 + 8 * 8 * 8 + 4 * 4 * 32)


def step(
    tracker: Tracker, session: Session, index: int, *prompts: Prompt, side: int = 64
) -> np.ndarray:
    image = little_picture(index % 7, side, side)
    tracker.step([(session, image, prompts)])
    return image


def frames(session: Session) -> list[TrackedFrame]:
    return [session.frame(index) for index in session.history]


def test_newest_frames_stay_and_older_ones_go() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=3)
    assert session.history == ()
    for index in range(5):
        step(tracker, session, index)
    assert session.history == (2, 3, 4)
    with pytest.raises(PromptError, match="frame 1 is not in the history, .* frames 2 to 4"):
        tracker.correct(session, [click(1)], 1)
    with pytest.raises(PromptError, match="frame 5 is not"):
        tracker.correct(session, [click(1)], 5)
    session.forget_before(4)
    assert session.history == (4,)
    session.forget_before(99)
    assert session.history == (4,)


def test_stream_without_objects_keeps_images_and_an_encoded_one_keeps_features() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=9)
    image = step(tracker, session, 0)
    step(tracker, session, 1, click(1))
    bare, encoded = frames(session)
    assert bare.image is image  # not a copy
    assert bare.features is None
    assert encoded.image is None  # it is larger than its features
    assert encoded.features is not None
    assert encoded.bytes == FEATURES_BYTES + encoded.logits[1].nbytes + encoded.clicks[1].nbytes


@pytest.mark.parametrize("side", [16, 64])
def test_bytes_bound_the_history_and_are_counted(side: int) -> None:
    bound = 6 * FEATURES_BYTES
    tracker = little_tracker()
    session = tracker.open_session(history_frames=1000, history_bytes=bound)
    for index in range(60):
        prompts = [click(1, 9, 9)] if index == 30 else []
        step(tracker, session, index, *prompts, side=side)
        assert session.history_bytes == sum(frame.bytes for frame in frames(session))
        assert session.history_bytes <= bound
        oldest = session.oldest_frame
        assert oldest is not None
        if index > 40:
            tracker.correct(session, [click(1, index % 16, 9)], oldest, anew=True)
            assert session.history_bytes == sum(frame.bytes for frame in frames(session))
            assert session.history_bytes <= bound
    assert len(session.history) > 3


def test_small_images_outlast_their_features() -> None:
    """Else a network of 1024² would keep 8 frames in 64 MiB, however small the pictures are."""
    tracker = little_tracker()
    session = tracker.open_session(history_frames=1000, history_bytes=4 * FEATURES_BYTES)
    for index in range(40):
        step(tracker, session, index, *([click(1, 9, 9)] if index == 0 else []), side=16)
    kept = frames(session)
    assert len(kept) > 8
    assert kept[-1].features is not None
    assert kept[0].features is None
    assert tracker.correct(session, [click(1, 3, 3)], kept[0].index).latest


def test_history_changes_no_bit_of_a_step() -> None:
    tracker = little_tracker()
    with_history, without = tracker.open_session(history_frames=30), tracker.open_session()
    for index in range(20):
        prompts = [click(1), click(2, 9, 9)] if index == 0 else []
        ours, theirs = (
            tracker.step([(session, little_picture(index), prompts)])[0]
            for session in (with_history, without)
        )
        for own, other in zip(ours, theirs, strict=True):
            assert own.logits is not None
            assert other.logits is not None
            np.testing.assert_array_equal(own.logits, other.logits)


def test_newest_frame_stays_however_large_it_is() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=9, history_bytes=0)
    for index in range(3):
        step(tracker, session, index, *([click(1)] if index == 0 else []))
        assert session.history == (index,)
    assert tracker.correct(session, [click(1, 3, 3)]).tracks


def test_catching_up_over_many_images_stays_within_the_bytes() -> None:
    bound = 8 * FEATURES_BYTES
    tracker = little_tracker()
    session = tracker.open_session(history_frames=100, history_bytes=bound)
    for index in range(20):
        step(tracker, session, index, side=16)
    assert len(session.history) == 20
    largest = 0
    encode = Sam2.encode_image

    def watched(self: Sam2, image_B3SS: torch.Tensor) -> object:
        nonlocal largest
        largest = max(largest, session.history_bytes)
        return encode(self, image_B3SS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sam2, "encode_image", watched)
        tracker.correct(session, [click(1, 9, 9)], 0)
    assert 0 < largest <= bound
    assert session.history_bytes <= bound


def test_held_frame_outlives_the_history_and_each_holds_one() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=2)
    for index in range(4):
        step(tracker, session, index)
        if index in (0, 1):
            session.hold(index)
    assert session.history == (1, 2, 3)
    assert session.oldest_frame == 2
    before = session.history_bytes
    assert tracker.correct(session, [click(1)], 1).latest
    assert session.frame(1).features is not None
    session.let_go()
    assert session.history == (2, 3)
    assert session.history_bytes < before
    with pytest.raises(PromptError, match="frame 1 is not"):
        session.hold(1)
    session.hold(2, "one")
    session.hold(3, "another")
    for index in range(4, 8):
        step(tracker, session, index)
    assert session.history == (2, 3, 6, 7)
    session.let_go("one")
    assert session.history == (3, 6, 7)


def test_removed_object_leaves_the_whole_history() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=5)
    for index in range(8):
        step(tracker, session, index, *([click(1), click(2, 9, 9)] if index == 0 else []))
        if index == 1:
            session.hold(1)
    session.remove(1)
    for frame in frames(session):
        assert set(frame.logits) == {2}
        assert 1 not in frame.clicks.keys() | frame.tracks.keys() | frame.unconditioned


def test_tracks_are_kept_of_the_newest_frame_only() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=5)
    for index in range(5):
        step(tracker, session, index, *([click(1)] if index == 0 else []))
    tracker.correct(session, [click(1, 5, 5)], 2)
    assert [bool(frame.tracks) for frame in frames(session)] == [False] * 4 + [True]


def test_closed_session_keeps_nothing() -> None:
    tracker = little_tracker()
    session = tracker.open_session(history_frames=5)
    step(tracker, session, 0)
    session.hold(0)
    session.close()
    assert session.history == ()
    assert session.history_bytes == 0


@pytest.mark.parametrize(("frames_kept", "most_bytes"), [(0, None), (3, -1)])
def test_impossible_bounds_are_refused(frames_kept: int, most_bytes: int | None) -> None:
    with pytest.raises(ValueError, match="history_"):
        little_tracker().open_session(history_frames=frames_kept, history_bytes=most_bytes)

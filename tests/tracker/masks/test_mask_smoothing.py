"""Mask smoothing: uncertain pixels change late, confident ones at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.tracker.little import assert_same, click, little_picture, little_tracker, step
from tracker import Session, Tracker
from tracker.masks.smoothing import MaskSmoother
from tracker.model import Sam2


def logits(*values: float) -> torch.Tensor:
    """One object, one row of pixels."""
    return torch.tensor(values).view(1, 1, 1, -1)


def test_uncertain_pixels_change_late_and_confident_ones_at_once() -> None:
    smoother = MaskSmoother(0.3)
    # The centre stays where it is: two pixels are gone on either side, the outer surely.
    smoother.keep([1], logits(8.0, 8.0, 8.0, 8.0, 8.0))
    shown = smoother.blend([1], logits(-9.0, -1.0, 8.0, -1.0, -9.0), ())
    assert (shown > 0).flatten().tolist() == [False, True, True, True, False]


def test_a_moving_mask_is_not_delayed() -> None:
    """A blob of uncertain pixels moves three cells per frame without lag or growth."""
    smoother = MaskSmoother(0.45)
    for place in (4, 7, 10, 13):
        now = torch.full((1, 1, 24, 24), -1.0)
        now[0, 0, 8:14, place : place + 6] = 1.0
        shown = smoother.blend([1], now, ())
        smoother.keep([1], shown)
        assert torch.equal(shown > 0, now > 0)


def test_absent_new_and_prompted_objects_are_not_smoothed() -> None:
    smoother = MaskSmoother(0.4)
    absent, now = logits(-1024.0, -1024.0), logits(0.5, -0.5)
    smoother.keep([1], logits(9.0, 9.0))
    assert torch.equal(smoother.blend([1], absent, ()), absent)
    assert torch.equal(smoother.blend([2], now, ()), now)
    assert torch.equal(smoother.blend([1], now, {1}), now)
    assert not torch.equal(smoother.blend([1], now, ()), now)
    sure = logits(20.0, -20.0)
    assert torch.equal(smoother.blend([1, 2], torch.cat((now, sure)), ())[1:], sure)
    smoother.keep([1], absent)
    assert torch.equal(smoother.blend([1], now, ()), now)


def test_a_share_above_its_bound_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be 0\.\.0\.45, got 0\.5"):
        MaskSmoother(0.5)


def test_memories_do_not_depend_on_smoothing() -> None:
    tracker = little_tracker(object_score_bias=20.0)
    plain, smooth = tracker.open_session(), tracker.open_session()
    smooth.smooth_masks(0.45)
    differed = False
    for index in range(8):
        prompts = [click(1)] if index in (0, 5) else []
        ours = step(tracker, plain, little_picture(index % 4), *prompts)[1]
        theirs = step(tracker, smooth, little_picture(index % 4), *prompts)[1]
        assert ours.predicted_iou == pytest.approx(theirs.predicted_iou, abs=1e-6)
        assert ours.object_score == pytest.approx(theirs.object_score, abs=1e-6)
        differed |= ours.area != theirs.area
        if prompts:
            assert_same(ours, theirs)
    assert differed
    plain_again = tracker.correct(plain, [click(1, 40, 20)]).tracks[0]
    assert_same(plain_again, tracker.correct(smooth, [click(1, 40, 20)]).tracks[0])


def smooth_session(tracker: Tracker) -> Session:
    """Two objects on four frames, with all of these in the history."""
    session = tracker.open_session(history_frames=9)
    session.smooth_masks(0.45)
    for index in range(4):
        prompts = [click(1), click(2, 50, 50)] if index == 0 else []
        step(tracker, session, little_picture(index), *prompts)
    return session


def shown_next(tracker: Tracker, session: Session, object_id: int) -> np.ndarray:
    logits = step(tracker, session, little_picture(4))[object_id].logits
    assert logits is not None
    return logits


@pytest.mark.parametrize("frame_index", [1, 3])
def test_correcting_one_object_keeps_the_smoothing_of_the_others(frame_index: int) -> None:
    tracker = little_tracker(object_score_bias=20.0)
    corrected, plain = smooth_session(tracker), smooth_session(tracker)
    tracker.correct(corrected, [click(1, 9, 50)], frame_index)
    ours, theirs = (shown_next(tracker, each, 2) for each in (corrected, plain))
    np.testing.assert_array_equal(ours, theirs)


def test_a_failed_correction_keeps_the_smoothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = little_tracker(object_score_bias=20.0)
    failing, plain = smooth_session(tracker), smooth_session(tracker)
    finish, calls = Sam2.finish_memory, itertools.count()

    def fails_at_the_second(self: Sam2, *arguments: torch.Tensor) -> torch.Tensor:
        if next(calls) == 1:
            raise MemoryError
        return finish(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Sam2, "finish_memory", fails_at_the_second)
        with pytest.raises(MemoryError):
            tracker.correct(failing, [click(1, 9, 50)], 1)
    ours, theirs = (shown_next(tracker, each, 1) for each in (failing, plain))
    np.testing.assert_array_equal(ours, theirs)


def test_an_object_with_the_id_of_a_removed_one_is_not_smoothed() -> None:
    tracker = little_tracker(object_score_bias=20.0)
    smooth, plain = smooth_session(tracker), smooth_session(tracker)
    plain.smooth_masks(0)
    for session in (smooth, plain):
        memory = session.export_object(1)
        session.remove(1)
        session.import_object(1, memory)
    ours, theirs = (shown_next(tracker, each, 1) for each in (smooth, plain))
    np.testing.assert_array_equal(ours, theirs)


def test_a_disabled_smoother_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    smoother = MaskSmoother(0.0)
    logits = torch.ones(1, 1, 4, 4)
    with monkeypatch.context() as patched:
        patched.setattr("tracker.masks.smoothing._absent", None)  # what keeping begins with
        smoother.keep([1], logits)
    shown = -logits
    assert smoother.blend([1], shown, ()) is shown
